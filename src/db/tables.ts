/**
 * The tables, all in the Postgres schema `rollcall`, so that they stand beside an app's own. docs/data.md says what
 * they mean to other programs.
 *
 * Ids are compared by their bytes (`COLLATE "C"`), as the live store orders them: pages of both fit together.
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

/** A text that orders by its bytes in UTF-8, whatever the locale of the database is. */
const idText = customType<{ data: string; driverData: string }>({ dataType: () => 'text COLLATE "C"' })

const bytes = customType<{ data: Buffer; driverData: Buffer }>({ dataType: () => 'bytea' })

function moment(name: string) {
  return timestamp(name, { withTimezone: true, precision: 3, mode: 'date' })
}

/** Who the users are, what they chose, and what everyone sees of them. */
export const users = rollcall.table(
  'users',
  {
    id: idText('id').primaryKey(),
    name: text('name'),
    avatarUrl: text('avatar_url'),
    /** When the source of name and picture was issued: only a later one replaces them. */
    profileIssuedAt: moment('profile_issued_at'),

    /** The public columns: what everyone sees, so false and frozen for who hides. */
    isOnline: boolean('is_online').notNull().default(false),
    lastActive: moment('last_active'),
    onlineSince: moment('online_since'),

    /** Private: the last activity in sessions that retention deleted. Those that are left may say a later one. */
    pastLastActive: moment('past_last_active'),

    chosenStatus: text('chosen_status').notNull().default('AUTOMATIC'),
    statusMessage: text('status_message'),
    visibility: text('visibility').notNull().default('EVERYONE'),
    hideLastActive: boolean('hide_last_active').notNull().default(false),
    settingsVersion: integer('settings_version').notNull().default(0),
    tokensValidAfter: moment('tokens_valid_after'),
    /** Since when `hidden_spans` has each time in which the user hid: earlier history is shown to nobody else. Null: always. */
    hidingKnownSince: moment('hiding_known_since'),

    createdAt: moment('created_at').notNull().defaultNow(),
    /** Moves only with what everyone may see: else it would tell of who hides. */
    updatedAt: moment('updated_at').notNull().defaultNow(),
  },
  (table) => [
    check('users_chosen_status', sql`${table.chosenStatus} in ('AUTOMATIC', 'AWAY', 'BUSY')`),
    check('users_visibility', sql`${table.visibility} in ('EVERYONE', 'NOBODY')`),
    // Partial, and on nothing that a flush of `last_active` writes: so that stays an update in place.
    index('users_online').on(table.id).where(sql`${table.isOnline}`),
  ],
)

/** The private history: a row for each start of a session. */
export const presenceSessions = rollcall.table(
  'presence_sessions',
  {
    /** Of its own for each start: the client keeps its session id across starts. */
    id: uuid('id').primaryKey(),
    userId: idText('user_id')
      .notNull()
      .references(() => users.id, { onDelete: 'cascade' }),
    clientSessionId: text('client_session_id').notNull(),
    device: text('device'),
    rooms: text('rooms').array().notNull().default([]),
    /** The node of its last socket. */
    node: text('node'),
    /** Whether it ever had a socket. */
    hasSocket: boolean('has_socket').notNull(),
    startedAt: moment('started_at').notNull(),
    lastActive: moment('last_active').notNull(),
    endedAt: moment('ended_at'),
    endReason: text('end_reason'),
  },
  (table) => [
    check('presence_sessions_ended_for_a_reason', sql`(${table.endedAt} is null) = (${table.endReason} is null)`),
    // The last end of a user, without a look at the whole history. Not on `last_active`, for the reason above.
    index('presence_sessions_by_end').on(table.userId, table.endedAt),
    // What ended first, for retention; and what had not ended at a moment of the last days.
    index('presence_sessions_ended').on(table.endedAt).where(sql`${table.endedAt} is not null`),
    // Who was online at any moment: sessions that end together lie together, so a few pages are read. It takes 40 bytes a
    // page range, and no time to write that can be measured (bench/history).
    index('presence_sessions_moments')
      .using('brin', table.startedAt, table.endedAt)
      .with({ pages_per_range: 32, autosummarize: true }),
    index('presence_sessions_open').on(table.userId).where(sql`${table.endedAt} is null`),
  ],
)

/**
 * When users hid. Private: others know of a session what lies outside of these spans. A trigger on `users.visibility`
 * writes them, so that they are right no matter who changes that column.
 */
export const hiddenSpans = rollcall.table(
  'hidden_spans',
  {
    userId: idText('user_id')
      .notNull()
      .references(() => users.id, { onDelete: 'cascade' }),
    /** `-infinity` if nobody knows since when. */
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
 * Revocations of tokens that outlive the row of their user: of users who were forgotten, and of those whose row an app
 * deleted after `disconnectUser`. Nothing personal is in it, and none is kept for longer than a token may live.
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

/** How far the recorder has come, and who it is. One row, written in the statement that writes its records. */
export const recorderCheckpoint = rollcall.table(
  'recorder_checkpoint',
  {
    id: smallint('id').primaryKey().default(1),
    epoch: text('epoch').notNull(),
    // A number is exact up to 2^53: 285 years at a million records a second.
    seq: bigint('seq', { mode: 'number' }).notNull(),
    holder: text('holder'),
    heldUntil: moment('held_until'),
    /** Without Redis: until when a process counts as waiting for the work. It says so again and again. */
    standbyUntil: moment('standby_until'),
    /** When the checkpoint moved last. */
    movedAt: moment('moved_at'),
    /** How many users were forgotten: records that were read before the last one are not written (record-batch.ts). */
    forgottenCount: bigint('forgotten_count', { mode: 'number' }).notNull().default(0),
  },
  (table) => [check('recorder_checkpoint_one_row', sql`${table.id} = 1`)],
)

/**
 * Records of users whose rows another transaction locks, in order. The checkpoint is past them, so they are written from
 * here. No foreign key: it would wait for the same lock.
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

/** Which database this is: one row, made with it. The live state in Redis names it, so that no two share one. */
export const databaseIdentity = rollcall.table(
  'database_identity',
  {
    id: smallint('id').primaryKey().default(1),
    databaseId: uuid('database_id').notNull().defaultRandom(),
  },
  (table) => [check('database_identity_one_row', sql`${table.id} = 1`)],
)
