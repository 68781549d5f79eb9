/**
 * Maps records to rows, and builds the statements that write them. Each is one statement, so one transaction without a
 * round trip in between: its rows are written only if it moves the checkpoint.
 *
 * Records hold whole states, so a batch keeps the last state of each row, and writing a record twice does no harm.
 */
import { type SQL, sql } from 'drizzle-orm'
import type { PresenceRecord, Profile, SessionRow } from '../presence/model.ts'
import type { AdoptedUser } from '../presence/store.ts'
import { newerProfile, stored } from './directory.ts'
import { jsonOf } from './storable.ts'
import { presenceSessions, recorderCheckpoint, recorderSetAside, users } from './tables.ts'

export interface Checkpoint {
  readonly epoch: string
  readonly seq: number
}

/** The checkpoint as stored in the database. */
export interface StoredCheckpoint extends Checkpoint {
  /** When it last moved, by the database's clock; null: never. */
  readonly moved_at_ms: number | null
  /** How many users have been forgotten. */
  readonly forgotten_count: number
}

/** The writer, how long it extends its hold for, and the checkpoint that it expects. */
export interface Standing {
  readonly holder: string
  readonly holdsForMs: number
  readonly checkpoint: Checkpoint
  /**
   * How many users had been forgotten before the records were read. If it has changed, the records may be those of a
   * forgotten user.
   */
  readonly forgottenCount: number
}

/**
 * Writes the records and moves the checkpoint, or does neither. Returns `{ moved: boolean, has_standby: boolean, newer:
 * string[] }`. `newer` lists the users whose row has settings that their record lacks: a later version, or other
 * settings with the same version.
 *
 * @param setAside - records that go to `recorder_set_aside` instead of their rows
 * @param lockWaitMs - how long to wait for a lock of another transaction before the statement fails
 */
export function writeStatement(
  { records, setAside }: { readonly records: readonly PresenceRecord[]; readonly setAside: readonly PresenceRecord[] },
  standing: Standing,
  to: Checkpoint,
  lockWaitMs: number,
): SQL {
  const moved = sql`
    update ${recorderCheckpoint} set epoch = ${to.epoch}, seq = ${to.seq}::bigint, held_until = ${heldUntil(standing)},
      moved_at = clock_timestamp()
    where ${standsAt(standing)} and ${limitsLockWait(lockWaitMs)} returning ${hasStandby} as has_standby`
  if (setAside.length === 0) return rowsStatement(moved, records)
  // Keep their order: ids are assigned in the order of insertion.
  const aside = sql`, aside as (
    insert into ${recorderSetAside} (user_id, record)
    select given.record ->> 'userId', given.record
    from jsonb_array_elements(${jsonOf(setAside)}::jsonb) with ordinality as given(record, place)
    where exists (select from moved) order by place
  )`
  return rowsStatement(moved, records, aside)
}

/** A record that was set aside; `id` gives its order. */
export interface SetAsideRow {
  readonly id: number
  readonly record: PresenceRecord
}

/** Returns `{ user_id: string }` for each user who has records set aside. */
export function setAsideUsersStatement(): SQL {
  return sql`select distinct ${recorderSetAside.userId} as user_id from ${recorderSetAside}`
}

/** Returns the `SetAsideRow`s of a user, oldest first. */
export function setAsideStatement(userId: string, limit: number): SQL {
  return sql`
    select ${recorderSetAside.id}::float8 as id, ${recorderSetAside.record} from ${recorderSetAside}
    where ${recorderSetAside.userId} = ${userId} order by ${recorderSetAside.id} limit ${limit}::bigint`
}

/**
 * Writes a user's oldest records that were set aside and removes them, or does neither. Returns the same as
 * `writeStatement`; `moved` is false if another process has written them.
 *
 * @param lastId - the id of the newest of these records
 */
export function writeSetAsideStatement(
  userId: string,
  lastId: number,
  records: readonly PresenceRecord[],
  lockWaitMs: number,
): SQL {
  const moved = sql`
    delete from ${recorderSetAside}
    where ${recorderSetAside.userId} = ${userId} and ${recorderSetAside.id} <= ${lastId}::bigint
      and ${limitsLockWait(lockWaitMs)} returning false as has_standby`
  return rowsStatement(moved, records)
}

/**
 * Limits the lock wait of its statement only: the setting lasts for the transaction. A pooler may share the connection
 * with other clients before and after.
 */
function limitsLockWait(lockWaitMs: number): SQL {
  return sql`set_config('lock_timeout', ${String(Math.max(1, Math.round(lockWaitMs)))}, true) is not null`
}

/**
 * @param moved - a statement that changes a row if the records may be written, and returns `has_standby`
 * @param more - common table expressions, each preceded by a comma
 */
function rowsStatement(moved: SQL, records: readonly PresenceRecord[], more: SQL = sql``): SQL {
  const rows = rowsOf(records)
  return sql`
    with moved as (${moved}),
    given as (
      select id, name, avatar_url, ${momentOf('profile_issued_at')} as profile_issued_at,
        is_online, ${momentOf('online_since')} as online_since, ${momentOf('last_active')} as last_active,
        ${momentOf('last_seen')} as last_seen,
        settings_version, chosen_status, status_message, visibility, hide_last_active
      from jsonb_to_recordset(${rows.shownUsers}::jsonb) as given(
        id text, name text, avatar_url text, profile_issued_at float8,
        is_online boolean, online_since float8, last_active float8, last_seen float8,
        settings_version integer, chosen_status text, status_message text, visibility text, hide_last_active boolean
      )
    ),
    newer as (
      -- An index scan for each, also by a plan that was made and kept when the table was empty.
      select given.id from given cross join lateral (select * from ${users} where ${users.id} = given.id offset 0) as ${stored}
      where given.settings_version < ${stored.settingsVersion} or given.settings_version = ${stored.settingsVersion}
        and (given.chosen_status, given.status_message, given.visibility, given.hide_last_active) is distinct from
          (${stored.chosenStatus}, ${stored.statusMessage}, ${stored.visibility}, ${stored.hideLastActive})
    ),
    shown as (
      insert into ${users} as ${stored} (
        id, name, avatar_url, profile_issued_at, is_online, online_since, last_active, last_seen,
        settings_version, chosen_status, status_message, visibility, hide_last_active
      )
      select given.* from given where exists (select from moved)
      on conflict (id) do update set
        name = ${next.name}, avatar_url = ${next.avatarUrl}, profile_issued_at = ${next.profileIssuedAt},
        is_online = ${next.isOnline}, online_since = ${next.onlineSince}, last_active = ${next.lastActive},
        last_seen = ${next.lastSeen},
        settings_version = ${newest('settingsVersion')}, chosen_status = ${newest('chosenStatus')},
        status_message = ${newest('statusMessage')}, visibility = ${newest('visibility')},
        hide_last_active = ${newest('hideLastActive')},
        updated_at = case when ${isPublicChange} then now() else ${stored.updatedAt} end
      where ${isPublicChange} or ${isNewerProfile} or ${areNewerSettings}
    ),
    unshown as (
      insert into ${users} as ${stored} (id, name, avatar_url, profile_issued_at)
      select id, name, avatar_url, ${momentOf('profile_issued_at')}
      from jsonb_to_recordset(${rows.otherUsers}::jsonb) as given(
        id text, name text, avatar_url text, profile_issued_at float8
      ) where exists (select from moved)
      on conflict (id) do update set ${newerProfile} where ${isNewerProfile}
    ),
    sessions as (
      insert into ${presenceSessions} as known (
        id, user_id, client_session_id, device, rooms, node, has_socket, started_at, last_active, ended_at, end_reason
      )
      select id, user_id, client_session_id, device, rooms, node, has_socket,
        ${momentOf('started_at')}, ${momentOf('last_active')}, ${momentOf('ended_at')}, end_reason
      from jsonb_to_recordset(${rows.sessions}::jsonb) as given(
        id uuid, user_id text, client_session_id text, device text, rooms text[], node text, has_socket boolean,
        started_at float8, last_active float8, ended_at float8, end_reason text
      ) where exists (select from moved)
      on conflict (id) do update set
        device = excluded.device, rooms = excluded.rooms, node = excluded.node,
        has_socket = known.has_socket or excluded.has_socket,
        last_active = greatest(known.last_active, excluded.last_active),
        ended_at = excluded.ended_at, end_reason = excluded.end_reason
      -- What ended stays ended. That nobody came back was a guess, and a record knows better.
      where known.ended_at is null or known.end_reason in ('UNRECORDED', 'NODE_LOST', 'SERVER_RESTART')
    )
    ${more}
    select exists (select from moved) as moved, coalesce((select bool_or(has_standby) from moved), false) as has_standby,
      (select coalesce(jsonb_agg(id), '[]') from newer) as newer`
}

/** Sessions and users that no record will end: open in the database, but not in the live store. */
export interface Unrecorded {
  readonly records: readonly PresenceRecord[]
  /** The starts of the sessions that the records end. */
  readonly startIds: readonly string[]
}

/**
 * Makes records that end what is open in the database but not in the live store, because the records of those ends were
 * lost.
 *
 * @param rows - users who are online or have open sessions in the database
 * @param live - the records of those users who are in the live store
 */
export function unrecordedEnds(rows: readonly AdoptedUser[], live: ReadonlyMap<string, PresenceRecord>): Unrecorded {
  const records: PresenceRecord[] = []
  const startIds: string[] = []
  for (const { userId, seed, onlineSinceMs, sessions } of rows) {
    const known = live.get(userId)
    const liveStarts = new Set(known?.sessions.map((row) => row.startId))
    const ended = sessions
      .filter((row) => row.endedAtMs === null && !liveStarts.has(row.startId))
      .map((row): SessionRow => {
        // The last known time of the session.
        const endedAtMs = Math.max(row.startedAtMs, row.lastActiveAtMs)
        return { ...row, endedAtMs, endReason: 'UNRECORDED' }
      })
    const isOnline = known?.columns?.isOnline === true
    if (ended.length === 0 && isOnline) continue
    const lastActiveAtMs = seed.shownLastActiveAtMs
    // Nobody knows when others last saw a user whose end was lost: as for the sessions, at the last known activity.
    const lastSeenAtMs = onlineSinceMs === null ? seed.shownLastSeenAtMs : lastActiveAtMs
    const columns = { isOnline: false, onlineSinceMs: null, lastActiveAtMs, lastSeenAtMs }
    records.push({
      seq: 0,
      userId,
      profile: null,
      columns: isOnline ? null : columns,
      settings: isOnline ? null : seed.settings,
      sessions: ended,
    })
    for (const { startId } of ended) startIds.push(startId)
  }
  return { records, startIds }
}

/** Returns how many of these sessions still end as UNRECORDED, and the earliest of those ends. */
export function unrecordedStatement(startIds: readonly string[]): SQL {
  return sql`
    select count(*)::float8 as count, (extract(epoch from min(${presenceSessions.endedAt})) * 1000)::float8 as since_ms
    from ${presenceSessions}
    where ${presenceSessions.id} in (select jsonb_array_elements_text(${jsonOf(startIds)}::jsonb)::uuid)
      and ${presenceSessions.endReason} = 'UNRECORDED'`
}

/** The holder as a waiting process saw it. An extension changes `heldUntilMs`. */
export interface SeenHold {
  readonly holder: string | null
  readonly heldUntilMs: number | null
}

/** When a process may take the work from another one that has not released it. */
export type Takeover =
  /** Always: no other process can exist. */
  | 'at once'
  /** When the hold has expired by the database's clock. */
  | 'when it is over'
  /** If the hold has not changed since it was seen. */
  | SeenHold
  | 'never'

/**
 * Takes the work if no process has it, or if `takeover` allows it. Returns the resulting `SeenHold` and checkpoint,
 * whether the work was `taken`, and whether another process waits (`has_standby`).
 *
 * @param isStandby - if the work is not taken, records for `holdsForMs` that this process waits
 */
export function acquireStatement(holder: string, holdsForMs: number, takeover: Takeover, isStandby: boolean): SQL {
  const isOwn = sql`checkpoint.holder is null or checkpoint.holder = excluded.holder`
  const isFree = sql`(${isOwn} or ${mayTakeOver(takeover)})`
  const answer = sql.raw(`epoch, seq::float8 as seq, ${MOVED_AT_MS}, holder, ${HELD_UNTIL_MS} as held_until_ms`)
  return sql`
    with looked as (
      insert into ${recorderCheckpoint} as checkpoint (id, epoch, seq, holder, held_until)
      select 1, '', 0, ${holder}, ${heldUntil({ holdsForMs })} where ${limitsLockWait(HOLD_LOCK_WAIT_MS)}
      on conflict (id) do update set
        holder = case when ${isFree} then excluded.holder else checkpoint.holder end,
        held_until = case when ${isFree} then excluded.held_until else checkpoint.held_until end,
        -- Who takes it from another waits no more. Others that wait say so again.
        standby_until = case
          when checkpoint.holder = excluded.holder then checkpoint.standby_until
          when ${isFree} then null
          else excluded.held_until
        end
      where ${isFree} or ${isStandby}::boolean
      returning ${answer}, ${hasStandby} as has_standby
    )
    select *, holder = ${holder} as taken from looked
    union all
    select ${answer}, false, false from ${recorderCheckpoint} where not exists (select from looked)`
}

function mayTakeOver(takeover: Takeover): SQL {
  if (takeover === 'at once') return sql`true`
  if (takeover === 'never') return sql`false`
  if (takeover === 'when it is over') return sql`coalesce(checkpoint.held_until < clock_timestamp(), false)`
  const { holder, heldUntilMs } = takeover
  return sql`(checkpoint.holder is not distinct from ${holder}::text
    and ${sql.raw(HELD_UNTIL_MS.replace('held_until', 'checkpoint.held_until'))} is not distinct from ${heldUntilMs}::float8)`
}

/** Whole milliseconds, the precision of the column: exact in a double. */
const HELD_UNTIL_MS = 'round(extract(epoch from held_until) * 1000)::float8'

/** Only Rollcall's processes lock that row, each for a moment. */
const HOLD_LOCK_WAIT_MS = 1000

const MOVED_AT_MS =
  'round(extract(epoch from moved_at) * 1000)::float8 as moved_at_ms, forgotten_count::float8 as forgotten_count'

/** Returns the checkpoint and `has_standby` if this process still has the work. */
export function renewStatement(holder: string, holdsForMs: number): SQL {
  return sql`
    update ${recorderCheckpoint} set held_until = ${heldUntil({ holdsForMs })}
    where ${recorderCheckpoint.id} = 1 and ${recorderCheckpoint.holder} = ${holder} and ${limitsLockWait(HOLD_LOCK_WAIT_MS)}
    returning epoch, seq::float8 as seq, ${sql.raw(MOVED_AT_MS)}, ${hasStandby} as has_standby`
}

export function releaseStatement(holder: string): SQL {
  return sql`
    update ${recorderCheckpoint} set holder = null, held_until = null
    where ${recorderCheckpoint.id} = 1 and ${recorderCheckpoint.holder} = ${holder} and ${limitsLockWait(HOLD_LOCK_WAIT_MS)}`
}

function heldUntil({ holdsForMs }: Pick<Standing, 'holdsForMs'>): SQL {
  return sql`clock_timestamp() + ${holdsForMs}::float8 * interval '1 millisecond'`
}

function standsAt({ holder, checkpoint, forgottenCount }: Standing): SQL {
  return sql`${recorderCheckpoint.id} = 1 and ${recorderCheckpoint.holder} = ${holder}
    and ${recorderCheckpoint.epoch} = ${checkpoint.epoch} and ${recorderCheckpoint.seq} = ${checkpoint.seq}::bigint
    -- A user was forgotten since the records were read: what it brings may be theirs, and is read again.
    and ${recorderCheckpoint.forgottenCount} = ${forgottenCount}::bigint`
}

const hasStandby = sql`coalesce(standby_until > clock_timestamp(), false)`

const isNewerProfile = sql`coalesce(excluded.profile_issued_at > coalesce(${stored.profileIssuedAt}, '-infinity'), false)`
/** The row went back: a standby that lacked the last version took over, or an older backup was restored. */
const areNewerSettings = sql`(excluded.settings_version > ${stored.settingsVersion})`

function newest(name: keyof typeof SETTINGS_COLUMNS): SQL {
  return sql`case when ${areNewerSettings} then excluded.${sql.identifier(SETTINGS_COLUMNS[name])} else ${stored[name]} end`
}

const SETTINGS_COLUMNS = {
  settingsVersion: 'settings_version',
  chosenStatus: 'chosen_status',
  statusMessage: 'status_message',
  visibility: 'visibility',
  hideLastActive: 'hide_last_active',
} as const satisfies Partial<Record<keyof typeof stored, string>>

const isHidden = sql`${newest('visibility')} = 'NOBODY'`
/**
 * A record that has the user online while the row has them hidden is from before they hid. So may be a record with an
 * older settings version than the row; a record with the row's settings follows.
 */
const isOfBeforeHiding = sql`(${isHidden} and
  (excluded.is_online or excluded.settings_version < ${stored.settingsVersion}))`
const nextIsOnline = sql`(excluded.is_online and not ${isHidden})`

/** Null if the user hides it; otherwise it never goes back. */
const nextLastActive = sql`case
  when ${newest('hideLastActive')} and not ${isHidden} then null
  when ${isOfBeforeHiding} then ${stored.lastActive}
  when excluded.last_active is null then null
  else greatest(excluded.last_active, ${stored.lastActive})
end`

/** The new values of a row that exists already. */
const next = {
  name: sql`case when ${isNewerProfile} then coalesce(excluded.name, ${stored.name}) else ${stored.name} end`,
  avatarUrl: sql`case when ${isNewerProfile} then coalesce(excluded.avatar_url, ${stored.avatarUrl}) else ${stored.avatarUrl} end`,
  profileIssuedAt: sql`greatest(excluded.profile_issued_at, ${stored.profileIssuedAt})`,
  isOnline: nextIsOnline,
  onlineSince: sql`case when ${nextIsOnline} then excluded.online_since end`,
  lastActive: nextLastActive,
  /**
   * The record has the moment of the LEAVE. It replaces the one of the statement that hid the user, which is by the
   * database's clock. It may be earlier than the last activity only if a clock was set back.
   */
  lastSeen: sql`case
    when ${nextIsOnline} or ${nextLastActive} is null then null
    when ${isOfBeforeHiding} or excluded.last_seen is null then ${stored.lastSeen}
    else greatest(excluded.last_seen, ${nextLastActive})
  end`,
}

const isPublicChange = sql`
  (${next.name}, ${next.avatarUrl}, ${next.isOnline}, ${next.onlineSince}, ${next.lastActive}, ${next.lastSeen})
  is distinct from (${stored.name}, ${stored.avatarUrl}, ${stored.isOnline}, ${stored.onlineSince}, ${stored.lastActive},
    ${stored.lastSeen})`

type UserPart = Pick<PresenceRecord, 'profile' | 'columns' | 'settings'>

/** The rows of a batch as JSON. Timestamps are in milliseconds. */
interface Rows {
  readonly shownUsers: string
  /** Users whose settings or columns the records lack: their public columns stay as they are. */
  readonly otherUsers: string
  readonly sessions: string
}

const prepared = new WeakMap<readonly PresenceRecord[], Rows>()

/** Builds the rows of a batch ahead of its statement: that takes half as long as the database needs to write them. */
export function prepareRows(records: readonly PresenceRecord[]): void {
  rowsOf(records)
}

function rowsOf(records: readonly PresenceRecord[]): Rows {
  let rows = prepared.get(records)
  if (rows === undefined) {
    rows = makeRows(records)
    prepared.set(records, rows)
  }
  return rows
}

function makeRows(records: readonly PresenceRecord[]): Rows {
  const lastUsers = new Map<string, UserPart>()
  const lastSessions = new Map<string, { readonly userId: string; readonly row: SessionRow }>()
  for (const record of records) {
    if (record.isForgotten) continue
    const { userId } = record
    const earlier = lastUsers.get(userId)
    lastUsers.set(userId, earlier === undefined ? record : laterPart(earlier, record))
    for (const row of record.sessions) {
      const isEnded = (lastSessions.get(row.startId)?.row.endedAtMs ?? null) !== null
      if (!isEnded || row.endedAtMs !== null) lastSessions.set(row.startId, { userId, row })
    }
  }

  const shownUsers: object[] = []
  const otherUsers: object[] = []
  for (const [id, { profile, columns, settings }] of lastUsers) {
    const name = profile?.name ?? null
    const avatar_url = profile?.avatarUrl ?? null
    const profile_issued_at = profile?.issuedAtMs ?? null
    if (columns === null || settings === null) otherUsers.push({ id, name, avatar_url, profile_issued_at })
    else {
      shownUsers.push({
        id,
        name,
        avatar_url,
        profile_issued_at,
        is_online: columns.isOnline,
        online_since: columns.onlineSinceMs,
        last_active: columns.lastActiveAtMs,
        last_seen: columns.lastSeenAtMs,
        settings_version: settings.version,
        chosen_status: settings.statusChoice,
        status_message: settings.statusMessage,
        visibility: settings.visibility,
        hide_last_active: settings.hideLastActive,
      })
    }
  }
  const sessions: object[] = []
  for (const { userId, row } of lastSessions.values()) {
    sessions.push({
      id: row.startId,
      user_id: userId,
      client_session_id: row.sessionId,
      device: row.device,
      rooms: row.rooms,
      node: row.nodeId,
      has_socket: row.hadSocket,
      started_at: row.startedAtMs,
      last_active: row.lastActiveAtMs,
      ended_at: row.endedAtMs,
      end_reason: row.endReason,
    })
  }
  return { shownUsers: jsonOf(shownUsers), otherUsers: jsonOf(otherUsers), sessions: jsonOf(sessions) }
}

function laterPart(earlier: UserPart, { profile, columns, settings }: UserPart): UserPart {
  return {
    profile: newestProfile(earlier.profile, profile),
    columns: columns ?? earlier.columns,
    settings: settings ?? earlier.settings,
  }
}

function newestProfile(one: Profile | null, other: Profile | null): Profile | null {
  if (one === null || other === null) return one ?? other
  return other.issuedAtMs >= one.issuedAtMs ? other : one
}

/** @param name - of a column in milliseconds; null stays null */
function momentOf(name: string): SQL {
  return sql`to_timestamp(${sql.identifier(name)} / 1000)::timestamptz(3)`
}
