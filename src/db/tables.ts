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
  pgSchema,
  smallint,
  text,
  timestamp,
  uuid,
} from 'drizzle-orm/pg-core'

export const rollcall = pgSchema('rollcall')

/** A text that orders by its bytes in UTF-8, whatever the locale of the database is. */
const idText = customType<{ data: string; driverData: string }>({ dataType: () => 'text COLLATE "C"' })

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

    chosenStatus: text('chosen_status').notNull().default('AUTOMATIC'),
    statusMessage: text('status_message'),
    visibility: text('visibility').notNull().default('EVERYONE'),
    hideLastActive: boolean('hide_last_active').notNull().default(false),
    settingsVersion: integer('settings_version').notNull().default(0),
    tokensValidAfter: moment('tokens_valid_after'),

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
    index('presence_sessions_open').on(table.userId).where(sql`${table.endedAt} is null`),
  ],
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
  },
  (table) => [check('recorder_checkpoint_one_row', sql`${table.id} = 1`)],
)
