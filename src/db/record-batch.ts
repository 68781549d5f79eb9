/**
 * Records as rows, and the statements that write them. Each is one statement, and so one transaction without a
 * round trip in between: what it writes hangs on the checkpoint that it moves.
 *
 * Records are whole states, so a batch keeps the last one of each row, and writing one twice does no harm.
 */
import { type SQL, sql } from 'drizzle-orm'
import type { PresenceRecord, Profile, SessionRow } from '../presence/model.ts'
import { newerProfile, stored } from './directory.ts'
import { jsonOf } from './storable.ts'
import { presenceSessions, recorderCheckpoint, users } from './tables.ts'

export interface Checkpoint {
  readonly epoch: string
  readonly seq: number
}

/** Who writes, for how long at least nobody else will, and where the checkpoint must stand. */
export interface Standing {
  readonly holder: string
  readonly holdsForMs: number
  readonly checkpoint: Checkpoint
}

/**
 * Writes the records and moves the checkpoint, or does neither. Answers `{ moved: boolean, has_standby: boolean, newer:
 * string[] }`: the users whose row has settings that their record does not know, a later version or others under the
 * same one.
 */
export function writeStatement(records: readonly PresenceRecord[], standing: Standing, to: Checkpoint): SQL {
  const rows = rowsOf(records)
  return sql`
    with moved as (
      update ${recorderCheckpoint} set epoch = ${to.epoch}, seq = ${to.seq}::bigint, held_until = ${heldUntil(standing)}
      where ${standsAt(standing)} returning ${hasStandby} as has_standby
    ),
    given as (
      select * from jsonb_to_recordset(${jsonOf(rows.shownUsers)}::jsonb) as given(
        id text, name text, avatar_url text, profile_issued_at timestamptz(3),
        is_online boolean, online_since timestamptz(3), last_active timestamptz(3),
        settings_version integer, chosen_status text, status_message text, visibility text, hide_last_active boolean
      )
    ),
    newer as (
      select given.id from given join ${users} as ${stored} on ${stored.id} = given.id
      where given.settings_version < ${stored.settingsVersion} or given.settings_version = ${stored.settingsVersion}
        and (given.chosen_status, given.status_message, given.visibility, given.hide_last_active) is distinct from
          (${stored.chosenStatus}, ${stored.statusMessage}, ${stored.visibility}, ${stored.hideLastActive})
    ),
    shown as (
      insert into ${users} as ${stored} (
        id, name, avatar_url, profile_issued_at, is_online, online_since, last_active,
        settings_version, chosen_status, status_message, visibility, hide_last_active
      )
      select given.* from given where exists (select from moved)
      on conflict (id) do update set
        name = ${next.name}, avatar_url = ${next.avatarUrl}, profile_issued_at = ${next.profileIssuedAt},
        is_online = ${next.isOnline}, online_since = ${next.onlineSince}, last_active = ${next.lastActive},
        settings_version = ${newest('settingsVersion')}, chosen_status = ${newest('chosenStatus')},
        status_message = ${newest('statusMessage')}, visibility = ${newest('visibility')},
        hide_last_active = ${newest('hideLastActive')},
        updated_at = case when ${isPublicChange} then now() else ${stored.updatedAt} end
      where ${isPublicChange} or ${isNewerProfile} or ${areNewerSettings}
    ),
    unshown as (
      insert into ${users} as ${stored} (id, name, avatar_url, profile_issued_at)
      select given.* from jsonb_to_recordset(${jsonOf(rows.otherUsers)}::jsonb) as given(
        id text, name text, avatar_url text, profile_issued_at timestamptz(3)
      ) where exists (select from moved)
      on conflict (id) do update set ${newerProfile} where ${isNewerProfile}
    ),
    sessions as (
      insert into ${presenceSessions} as known (
        id, user_id, client_session_id, device, rooms, node, has_socket, started_at, last_active, ended_at, end_reason
      )
      select given.* from jsonb_to_recordset(${jsonOf(rows.sessions)}::jsonb) as given(
        id uuid, user_id text, client_session_id text, device text, rooms text[], node text, has_socket boolean,
        started_at timestamptz(3), last_active timestamptz(3), ended_at timestamptz(3), end_reason text
      ) where exists (select from moved)
      on conflict (id) do update set
        device = excluded.device, rooms = excluded.rooms, node = excluded.node,
        has_socket = known.has_socket or excluded.has_socket,
        last_active = greatest(known.last_active, excluded.last_active),
        ended_at = excluded.ended_at, end_reason = excluded.end_reason
      -- What ended stays ended. UNRECORDED was a guess, and a record knows better.
      where known.ended_at is null or known.end_reason = 'UNRECORDED'
    )
    select exists (select from moved) as moved, coalesce((select has_standby from moved), false) as has_standby,
      (select coalesce(jsonb_agg(id), '[]') from newer) as newer`
}

/**
 * Ends what is open in the database among the users of a range of ids and not in the live store: their ends were
 * among records that were lost. Answers `{ moved: boolean }`: false where the checkpoint stands elsewhere.
 *
 * @param live - what of the range is in the live store
 * @param after - the range begins behind this id, null: at the first
 * @param until - the range ends with this id, null: with the last
 */
export function closeRestStatement(
  live: readonly PresenceRecord[],
  standing: Standing,
  after: string | null,
  until: string | null,
): SQL {
  const liveSessions = live.flatMap(({ sessions }) => sessions.filter((row) => row.endedAtMs === null))
  const onlineUsers = live.filter(({ columns }) => columns?.isOnline === true)
  const inRange = (id: unknown) => sql`${id} > ${after ?? ''} and (${until}::text is null or ${id} <= ${until ?? ''})`
  return sql`
    with held as (select from ${recorderCheckpoint} where ${standsAt(standing)} for update),
    ended as (
      -- The last that is known of them.
      update ${presenceSessions} as session set
        ended_at = greatest(session.started_at, session.last_active), end_reason = 'UNRECORDED'
      where session.ended_at is null and ${inRange(sql`session.user_id`)} and exists (select from held)
        and session.id not in (
          select live.id::uuid from jsonb_array_elements_text(${jsonOf(liveSessions.map((row) => row.startId))}::jsonb) as live(id)
        )
    ),
    offline as (
      update ${users} as ${stored} set is_online = false, online_since = null, updated_at = now()
      where ${stored.isOnline} and ${inRange(stored.id)} and exists (select from held)
        and ${stored.id} not in (
          select live.id from jsonb_array_elements_text(${jsonOf(onlineUsers.map((record) => record.userId))}::jsonb) as live(id)
        )
    )
    select exists (select from held) as moved`
}

/** Who has the work, as a process that waits saw it: renewed since, it is another. */
export interface SeenHold {
  readonly holder: string | null
  readonly heldUntilMs: number | null
}

/** When a process may take the work from another one that has not released it. */
export type Takeover =
  /** Always: no other process can be there. */
  | 'at once'
  /** When its time is over by the database's clock. */
  | 'when it is over'
  /** Where the hold is still the very one that was seen. */
  | SeenHold
  /** Not yet. */
  | 'never'

/**
 * Takes the work where nobody has it, or where the takeover says so. Answers `SeenHold` and the checkpoint as they are
 * then, whether the work was `taken`, and whether another process waits (`has_standby`).
 *
 * @param isStandby - where it is not taken, this process waits, and makes that known for `holdsForMs`
 */
export function acquireStatement(holder: string, holdsForMs: number, takeover: Takeover, isStandby: boolean): SQL {
  const isOwn = sql`checkpoint.holder is null or checkpoint.holder = excluded.holder`
  const isFree = sql`(${isOwn} or ${mayTakeOver(takeover)})`
  const answer = sql.raw(`epoch, seq::float8 as seq, holder, ${HELD_UNTIL_MS} as held_until_ms`)
  return sql`
    with looked as (
      insert into ${recorderCheckpoint} as checkpoint (id, epoch, seq, holder, held_until)
      values (1, '', 0, ${holder}, ${heldUntil({ holdsForMs })})
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

/** Whole milliseconds, as the column has them: exact in a double. */
const HELD_UNTIL_MS = 'round(extract(epoch from held_until) * 1000)::float8'

/** Answers the checkpoint and `has_standby` where the work is still the holder's. */
export function renewStatement(holder: string, holdsForMs: number): SQL {
  return sql`
    update ${recorderCheckpoint} set held_until = ${heldUntil({ holdsForMs })}
    where ${recorderCheckpoint.id} = 1 and ${recorderCheckpoint.holder} = ${holder}
    returning epoch, seq::float8 as seq, ${hasStandby} as has_standby`
}

export function releaseStatement(holder: string): SQL {
  return sql`
    update ${recorderCheckpoint} set holder = null, held_until = null
    where ${recorderCheckpoint.id} = 1 and ${recorderCheckpoint.holder} = ${holder}`
}

function heldUntil({ holdsForMs }: Pick<Standing, 'holdsForMs'>): SQL {
  return sql`clock_timestamp() + ${holdsForMs}::float8 * interval '1 millisecond'`
}

function standsAt({ holder, checkpoint }: Standing): SQL {
  return sql`${recorderCheckpoint.id} = 1 and ${recorderCheckpoint.holder} = ${holder}
    and ${recorderCheckpoint.epoch} = ${checkpoint.epoch} and ${recorderCheckpoint.seq} = ${checkpoint.seq}::bigint`
}

const hasStandby = sql`coalesce(standby_until > clock_timestamp(), false)`

const isNewerProfile = sql`coalesce(excluded.profile_issued_at > coalesce(${stored.profileIssuedAt}, '-infinity'), false)`
/** The row went back: a standby took over that lacked the last version, or an older copy was restored. */
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
 * A record that has the user online while the row has them hidden is older than their hiding, and so may be one that
 * does not know the row's settings: a record that knows them comes.
 */
const isOfBeforeHiding = sql`(${isHidden} and
  (excluded.is_online or excluded.settings_version < ${stored.settingsVersion}))`
const nextIsOnline = sql`(excluded.is_online and not ${isHidden})`

/** What a row becomes where there is one already. */
const next = {
  name: sql`case when ${isNewerProfile} then coalesce(excluded.name, ${stored.name}) else ${stored.name} end`,
  avatarUrl: sql`case when ${isNewerProfile} then coalesce(excluded.avatar_url, ${stored.avatarUrl}) else ${stored.avatarUrl} end`,
  profileIssuedAt: sql`greatest(excluded.profile_issued_at, ${stored.profileIssuedAt})`,
  isOnline: nextIsOnline,
  onlineSince: sql`case when ${nextIsOnline} then excluded.online_since end`,
  /** Null hides it. Otherwise it never goes back. */
  lastActive: sql`case
    when ${newest('hideLastActive')} and not ${isHidden} then null
    when ${isOfBeforeHiding} then ${stored.lastActive}
    when excluded.last_active is null then null
    else greatest(excluded.last_active, ${stored.lastActive})
  end`,
}

const isPublicChange = sql`
  (${next.name}, ${next.avatarUrl}, ${next.isOnline}, ${next.onlineSince}, ${next.lastActive}) is distinct from
  (${stored.name}, ${stored.avatarUrl}, ${stored.isOnline}, ${stored.onlineSince}, ${stored.lastActive})`

type UserPart = Pick<PresenceRecord, 'profile' | 'columns' | 'settings'>

interface Rows {
  readonly shownUsers: readonly object[]
  /** Their settings are not known: their public columns stay as they are. */
  readonly otherUsers: readonly object[]
  readonly sessions: readonly object[]
}

function rowsOf(records: readonly PresenceRecord[]): Rows {
  const lastUsers = new Map<string, UserPart>()
  const lastSessions = new Map<string, { readonly userId: string; readonly row: SessionRow }>()
  for (const { userId, profile, columns, settings, sessions } of records) {
    const earlier = lastUsers.get(userId)
    lastUsers.set(userId, {
      profile: newestProfile(earlier?.profile ?? null, profile),
      columns: columns ?? earlier?.columns ?? null,
      settings: settings ?? earlier?.settings ?? null,
    })
    for (const row of sessions) {
      const isEnded = (lastSessions.get(row.startId)?.row.endedAtMs ?? null) !== null
      if (!isEnded || row.endedAtMs !== null) lastSessions.set(row.startId, { userId, row })
    }
  }

  const shownUsers: object[] = []
  const otherUsers: object[] = []
  for (const [userId, { profile, columns, settings }] of lastUsers) {
    const user = {
      id: userId,
      name: profile?.name ?? null,
      avatar_url: profile?.avatarUrl ?? null,
      profile_issued_at: isoOf(profile?.issuedAtMs ?? null),
    }
    if (columns === null || settings === null) otherUsers.push(user)
    else {
      shownUsers.push({
        ...user,
        is_online: columns.isOnline,
        online_since: isoOf(columns.onlineSinceMs),
        last_active: isoOf(columns.lastActiveAtMs),
        settings_version: settings.version,
        chosen_status: settings.statusChoice,
        status_message: settings.statusMessage,
        visibility: settings.visibility,
        hide_last_active: settings.hideLastActive,
      })
    }
  }
  const sessions = [...lastSessions.values()].map(({ userId, row }) => ({
    id: row.startId,
    user_id: userId,
    client_session_id: row.sessionId,
    device: row.device,
    rooms: row.rooms,
    node: row.nodeId,
    has_socket: row.hadSocket,
    started_at: isoOf(row.startedAtMs),
    last_active: isoOf(row.lastActiveAtMs),
    ended_at: isoOf(row.endedAtMs),
    end_reason: row.endReason,
  }))
  return { shownUsers, otherUsers, sessions }
}

function newestProfile(one: Profile | null, other: Profile | null): Profile | null {
  if (one === null || other === null) return one ?? other
  return other.issuedAtMs >= one.issuedAtMs ? other : one
}

function isoOf(atMs: number | null): string | null {
  return atMs === null ? null : new Date(atMs).toISOString()
}
