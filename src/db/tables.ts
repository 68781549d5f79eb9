/**
 * The tables, all in the Postgres schema `rollcall`, so that they can live beside an app's own. docs/data.md documents
 * them for other programs.
 *
 * Ids are compared by their bytes (`COLLATE "C"`), as in the live store, so that pages of both match.
 */
import { sql } from 'drizzle-orm'
import {
  bigint,
  boolean,
  check,
  customType,
  index,
  integer,
  jsonb,
  pgSchema,
  primaryKey,
  smallint,
  text,
  timestamp,
  uniqueIndex,
  uuid,
} from 'drizzle-orm/pg-core'

export const rollcall = pgSchema('rollcall')

/** Text that sorts by its UTF-8 bytes, whatever the database's locale. */
const idText = customType<{ data: string; driverData: string }>({ dataType: () => 'text COLLATE "C"' })

const bytes = customType<{ data: Buffer; driverData: Buffer }>({ dataType: () => 'bytea' })

function moment(name: string) {
  return timestamp(name, { withTimezone: true, precision: 3, mode: 'date' })
}

/** The users, their settings, and their public presence. */
export const users = rollcall.table(
  'users',
  {
    id: idText('id').primaryKey(),
    name: text('name'),
    avatarUrl: text('avatar_url'),
    /** When the source of name and picture was issued: only a later source replaces them. */
    profileIssuedAt: moment('profile_issued_at'),

    /** Public: what everyone sees, so false for a user who hides, and without their later activity. */
    isOnline: boolean('is_online').notNull().default(false),
    lastActive: moment('last_active'),
    onlineSince: moment('online_since'),
    /** Null while online, and where the moment is not known. */
    lastSeen: moment('last_seen'),

    /** Private: the last activity in sessions that retention deleted. Remaining sessions may have a later one. */
    pastLastActive: moment('past_last_active'),

    chosenStatus: text('chosen_status').notNull().default('AUTOMATIC'),
    statusMessage: text('status_message'),
    visibility: text('visibility').notNull().default('EVERYONE'),
    hideLastActive: boolean('hide_last_active').notNull().default(false),
    settingsVersion: integer('settings_version').notNull().default(0),
    tokensValidAfter: moment('tokens_valid_after'),
    /** Since when `hidden_spans` is complete for the user; earlier history is not shown to others. Null: always. */
    hidingKnownSince: moment('hiding_known_since'),

    createdAt: moment('created_at').notNull().defaultNow(),
    /** Changes only with public columns, so that it does not reveal a user who hides. */
    updatedAt: moment('updated_at').notNull().defaultNow(),
  },
  (table) => [
    check('users_chosen_status', sql`${table.chosenStatus} in ('AUTOMATIC', 'AWAY', 'BUSY')`),
    check('users_visibility', sql`${table.visibility} in ('EVERYONE', 'NOBODY')`),
    // Partial, and on no column that a flush of `last_active` writes, so that the flush stays an update in place (HOT).
    index('users_online').on(table.id).where(sql`${table.isOnline}`),
  ],
)

/** The private history: one row per session start. */
export const presenceSessions = rollcall.table(
  'presence_sessions',
  {
    /** New for each start, unlike the client's session id. */
    id: uuid('id').primaryKey(),
    userId: idText('user_id')
      .notNull()
      .references(() => users.id, { onDelete: 'cascade' }),
    clientSessionId: text('client_session_id').notNull(),
    device: text('device'),
    rooms: text('rooms').array().notNull().default([]),
    /** The node of the session's last socket. */
    node: text('node'),
    /** Whether the session ever had a socket. */
    hasSocket: boolean('has_socket').notNull(),
    startedAt: moment('started_at').notNull(),
    lastActive: moment('last_active').notNull(),
    endedAt: moment('ended_at'),
    endReason: text('end_reason'),
  },
  (table) => [
    check('presence_sessions_ended_for_a_reason', sql`(${table.endedAt} is null) = (${table.endReason} is null)`),
    // Finds a user's last end without reading the whole history. Not on `last_active`, for the reason above.
    index('presence_sessions_by_end').on(table.userId, table.endedAt),
    // For retention, the sessions that ended first; and the sessions that were open at a moment of the last days.
    index('presence_sessions_ended').on(table.endedAt).where(sql`${table.endedAt} is not null`),
    // Finds who was online at any moment: sessions that end together are stored together, so a few pages are read. It
    // takes 40 bytes per page range, and no measurable write time (bench/history).
    index('presence_sessions_moments')
      .using('brin', table.startedAt, table.endedAt)
      .with({ pages_per_range: 32, autosummarize: true }),
    index('presence_sessions_open').on(table.userId).where(sql`${table.endedAt} is null`),
  ],
)

/**
 * When users hid. Private: others see only the parts of a session outside these spans. A trigger on `users.visibility`
 * writes them, so they are right no matter who changes that column.
 */
export const hiddenSpans = rollcall.table(
  'hidden_spans',
  {
    userId: idText('user_id')
      .notNull()
      .references(() => users.id, { onDelete: 'cascade' }),
    /** `-infinity` if the start is unknown. */
    startedAt: moment('started_at').notNull(),
    endedAt: moment('ended_at'),
  },
  (table) => [
    primaryKey({ columns: [table.userId, table.startedAt] }),
    index('hidden_spans_ended').on(table.endedAt),
    uniqueIndex('hidden_spans_open').on(table.userId).where(sql`${table.endedAt} is null`),
  ],
)

/**
 * Token revocations that outlive the user's row: of users who were forgotten, and of users whose row an app deleted
 * after `disconnectUser`. They hold no personal data, and none is kept longer than a token may live.
 */
export const revocations = rollcall.table(
  'revocations',
  {
    /** SHA-256 of the user's id in UTF-8. */
    userHash: bytes('user_hash').primaryKey(),
    tokensValidAfter: moment('tokens_valid_after').notNull(),
  },
  (table) => [index('revocations_by_age').on(table.tokensValidAfter)],
)

/** The recorder's checkpoint and holder. One row, updated in the statement that writes the records. */
export const recorderCheckpoint = rollcall.table(
  'recorder_checkpoint',
  {
    id: smallint('id').primaryKey().default(1),
    epoch: text('epoch').notNull(),
    // A number is exact up to 2^53: 285 years at a million records a second.
    seq: bigint('seq', { mode: 'number' }).notNull(),
    holder: text('holder'),
    heldUntil: moment('held_until'),
    /** Without Redis: until when another process counts as waiting for the work. That process extends it repeatedly. */
    standbyUntil: moment('standby_until'),
    /** When the checkpoint last moved. */
    movedAt: moment('moved_at'),
    /**
     * How many users have been forgotten: records that were read before the last one are not written (record-batch.ts).
     */
    forgottenCount: bigint('forgotten_count', { mode: 'number' }).notNull().default(0),
  },
  (table) => [check('recorder_checkpoint_one_row', sql`${table.id} = 1`)],
)

/**
 * Records of users whose rows another transaction locks, in order. The checkpoint is past them, so they are written
 * from here. No foreign key, because it would wait for the same lock.
 */
export const recorderSetAside = rollcall.table(
  'recorder_set_aside',
  {
    id: bigint('id', { mode: 'number' }).primaryKey().generatedAlwaysAsIdentity(),
    userId: idText('user_id').notNull(),
    record: jsonb('record').notNull(),
  },
  (table) => [index('recorder_set_aside_by_user').on(table.userId, table.id)],
)

/**
 * The database's id: one row, created with the database. The live state in Redis stores it, so that no two databases
 * share one live state.
 */
export const databaseIdentity = rollcall.table(
  'database_identity',
  {
    id: smallint('id').primaryKey().default(1),
    databaseId: uuid('database_id').notNull().defaultRandom(),
  },
  (table) => [check('database_identity_one_row', sql`${table.id} = 1`)],
)
