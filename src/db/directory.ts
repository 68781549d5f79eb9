/**
 * The users' rows. Each method is one statement, so one round trip and one transaction.
 *
 * Timestamps are read as milliseconds (`msOf`) and written as ISO strings: neither depends on a session setting. Lists
 * are passed as JSON, so that a statement's text does not depend on their length and is prepared once.
 */
import { type AnyColumn, type SQL, sql } from 'drizzle-orm'
import { alias } from 'drizzle-orm/pg-core'
import { LRUCache } from 'lru-cache'
import type { LivePart, RecordedEnd, SettingsChange, StoredUser, UserDirectory } from '../presence/directory.ts'
import { revoked } from '../presence/errors.ts'
import type { Profile, PublicUser, SessionRow, Settings, StatusChoice, Visibility } from '../presence/model.ts'
import type { AdoptedUser, InheritedUser } from '../presence/store.ts'
import type { Database } from './client.ts'
import { createPatience } from './patience.ts'
import { jsonOf, storable } from './storable.ts'
import { presenceSessions, revocations, users } from './tables.ts'

/** The existing row, also within `on conflict` and `returning`. */
export const stored = alias(users, 'stored')

export interface DirectoryOptions {
  readonly database: Database
  /** How long a caller waits for an answer, if that is less than the database's own time limit. */
  readonly waitMs?: number
}

/** About 10 MB. As many users as one process has sockets for. */
const MAX_REVOCATIONS = 50_000

export function createDirectory({ database, waitMs }: DirectoryOptions): UserDirectory {
  // The embedded database restarts if a query exceeds its time limit, and no network can make it silent.
  const patience = waitMs === undefined || database.isEmbedded ? null : createPatience(waitMs)
  const learnt = new LRUCache<string, { readonly atMs: number | null; readonly generation: number }>({
    max: MAX_REVOCATIONS,
  })
  /** Entries of an earlier generation are stale: another process may have revoked tokens since. */
  let generation = 0

  /** A revocation never goes back, so if two answers cross each other, the later timestamp is right. */
  function learnRevocation(userId: string, atMs: number | null): number | null {
    const knownAtMs = learnt.peek(userId)?.atMs ?? null
    const latestAtMs = atMs === null || knownAtMs === null ? (atMs ?? knownAtMs) : Math.max(atMs, knownAtMs)
    learnt.set(userId, { atMs: latestAtMs, generation })
    return latestAtMs
  }

  async function readRevocation(userId: string): Promise<number | null> {
    const [row] = await rowsOf<{ atMs: number | null }>(sql`
      select ${msOf(sql`greatest(${outlivingRevocation(userId)},
        (select ${stored.tokensValidAfter} from ${users} as ${stored} where ${stored.id} = ${userId}))`)} as "atMs"`)
    return learnRevocation(userId, row?.atMs ?? null)
  }

  /** For queries that a caller waits for. */
  async function rowsOf<Row extends object>(query: SQL): Promise<Row[]> {
    if (patience === null) return await rowsInTime(query)
    return await patience.within((limitMs) =>
      database.run(async (drizzle) => [...(await drizzle.execute(query))] as unknown as Row[], limitMs),
    )
  }

  /** For queries that no caller waits for, and that may return many rows. */
  async function rowsInTime<Row extends object>(query: SQL): Promise<Row[]> {
    return await database.run(async (drizzle) => [...(await drizzle.execute(query))] as unknown as Row[])
  }

  /** Users without a row whose tokens were revoked for good. */
  async function forgottenAmong(userIds: readonly string[]): Promise<Map<string, AdoptedUser>> {
    if (userIds.length === 0) return new Map()
    const found = await rowsOf<{ id: string; atMs: number }>(sql`
      select asked.id, ${msOf(revocations.tokensValidAfter)} as "atMs"
      from jsonb_array_elements_text(${jsonOf(userIds)}::jsonb) as asked(id)
      join ${revocations} on ${revocations.userHash} = ${hashOf(sql`asked.id`)}`)
    return new Map(
      found.map(({ id, atMs }) => [
        id,
        { ...WITHOUT_A_ROW, userId: id, tokensValidAfterMs: atMs, isForgotten: true as const },
      ]),
    )
  }

  return {
    async read(userIds) {
      if (userIds.length === 0) return []
      const rows = await rowsOf<PublicRow>(sql`
        select ${stored.id}, ${stored.name}, ${stored.avatarUrl} as "avatarUrl", ${shownMoments}, ${nowMs}
        from ${users} as ${stored} where ${stored.id} in (select jsonb_array_elements_text(${jsonOf(userIds)}::jsonb))`)
      const found = new Map(rows.map((row) => [row.id, offlineUser(row)]))
      return userIds.map((userId) => found.get(userId) ?? null)
    },

    async ensure(userId, profile, issuedAtMs) {
      const brought = profile !== null && (profile.name !== null || profile.avatarUrl !== null) ? profile : null
      // Two attempts are enough, unless the row is deleted at that very moment.
      for (let attempt = 0; attempt < 3; attempt += 1) {
        const [row] = await rowsOf<StoredRow>(ensureStatement(userId, brought, issuedAtMs ?? null))
        if (row === undefined) {
          const validAfterMs = issuedAtMs === undefined ? null : await readRevocation(userId)
          if (validAfterMs !== null && Number(issuedAtMs) <= validAfterMs) throw revoked()
          continue
        }
        learnRevocation(userId, row.tokensValidAfterMs)
        return storedUser(row)
      }
      throw new Error('A user row could be neither read nor made.')
    },

    async setSettings(userId, change, base) {
      const [row] = await rowsOf<SettingsRow>(settingsStatement(userId, change, base))
      return row === undefined ? null : settingsOf(row)
    },

    async settings(userIds) {
      if (userIds.length === 0) return []
      const rows = await rowsInTime<SettingsRow & { readonly id: string }>(sql`
        select ${stored.id}, ${settingsColumns} from ${users} as ${stored}
        where ${stored.id} in (select jsonb_array_elements_text(${jsonOf(userIds)}::jsonb))`)
      const found = new Map(rows.map((row) => [row.id, settingsOf(row)]))
      return userIds.map((userId) => found.get(userId) ?? null)
    },

    async setProfile(userId, change) {
      const name = change.name === undefined ? null : storable(change.name)
      const avatarUrl = change.avatarUrl === undefined ? null : storable(change.avatarUrl)
      const [row] = await rowsOf<{ name: string | null; avatarUrl: string | null; issuedAtMs: number }>(sql`
        update ${users} as ${stored} set
          name = coalesce(${name}::text, ${stored.name}),
          avatar_url = coalesce(${avatarUrl}::text, ${stored.avatarUrl}),
          -- It is called now and wins, also over a token from an issuer whose clock is ahead.
          profile_issued_at = greatest(now(), ${stored.profileIssuedAt} + interval '1 millisecond'),
          updated_at = case
            when (coalesce(${name}::text, ${stored.name}), coalesce(${avatarUrl}::text, ${stored.avatarUrl}))
              is distinct from (${stored.name}, ${stored.avatarUrl}) then now()
            else ${stored.updatedAt}
          end
        where ${stored.id} = ${userId}
        returning ${stored.name}, ${stored.avatarUrl} as "avatarUrl", ${msOf(stored.profileIssuedAt)} as "issuedAtMs"`)
      return row === undefined ? null : { name: row.name, avatarUrl: row.avatarUrl, issuedAtMs: row.issuedAtMs }
    },

    async revokeTokens(userId) {
      const [row] = await rowsOf<{ atMs: number }>(sql`
        update ${users} as ${stored} set tokens_valid_after = greatest(now(), ${stored.tokensValidAfter})
        where ${stored.id} = ${userId} returning ${msOf(stored.tokensValidAfter)} as "atMs"`)
      return row === undefined ? null : learnRevocation(userId, row.atMs)
    },

    async revokeForGood(userId) {
      const [row] = await rowsOf<{ atMs: number }>(sql`
        insert into ${revocations} as known (user_hash, tokens_valid_after)
        values (${hashOf(userId)}, greatest(now(),
          (select ${stored.tokensValidAfter} from ${users} as ${stored} where ${stored.id} = ${userId})))
        on conflict (user_hash) do update set
          tokens_valid_after = greatest(known.tokens_valid_after, excluded.tokens_valid_after)
        returning ${msOf(sql`tokens_valid_after`)} as "atMs"`)
      return Number(learnRevocation(userId, Number(row?.atMs)))
    },

    async forget(userId) {
      await rowsOf(sql`select rollcall.forget_user(${userId})`)
    },

    async tokensValidAfterMs(userId) {
      const known = learnt.get(userId)
      if (known?.generation === generation) return known.atMs
      try {
        return await readRevocation(userId)
      } catch (error) {
        // Postgres is away: use the last known revocation, so that presence continues.
        if (known === undefined) throw error
        return known.atMs
      }
    },

    learnRevocation: (userId, validAfterMs) => void learnRevocation(userId, validAfterMs),

    forgetRevocations() {
      generation += 1
    },

    async recordEnds(ends) {
      if (ends.length > 0) await rowsOf(recordEndsStatement(ends))
    },

    async leftOpen(after, limit, except = NOTHING_LIVE) {
      const rows = await rowsInTime<LeftOpenRow>(leftOpenStatement(after, limit, except))
      return rows.map(adoptedUser)
    },

    async recorded(inherited) {
      const rows = await rowsInTime<LeftOpenRow>(recordedStatement(inherited))
      const found = new Map(rows.map((row) => [row.id, adoptedUser(row)]))
      const missing = inherited.map(({ userId }) => userId).filter((userId) => !found.has(userId))
      const forgotten = await forgottenAmong(missing)
      return inherited.map(({ userId }) => found.get(userId) ?? forgotten.get(userId) ?? { ...WITHOUT_A_ROW, userId })
    },
  }
}

interface PublicRow extends DatedRow {
  readonly id: string
  readonly name: string | null
  readonly avatarUrl: string | null
  readonly lastActiveAtMs: number | null
  readonly lastSeenAtMs: number | null
}

/** `nowMs` is by the database's clock. */
interface DatedRow {
  readonly nowMs: number
}

interface SettingsRow {
  readonly settingsVersion: number
  readonly statusChoice: StatusChoice
  readonly statusMessage: string | null
  readonly visibility: Visibility
  readonly hideLastActive: boolean
}

interface StoredRow extends PublicRow, SettingsRow {
  readonly profileIssuedAtMs: number | null
  readonly tokensValidAfterMs: number | null
  readonly onlineSinceMs: number | null
  /** The latest private activity of the sessions; null if there are none. */
  readonly sessionsLastActiveAtMs: number | null
  readonly isActivityOver: boolean
}

interface LeftOpenRow extends StoredRow {
  readonly sessions: readonly SessionRow[]
}

/** A timestamp as milliseconds since the epoch: exact, since every column has millisecond precision. */
export function msOf(column: unknown): SQL {
  return sql`(extract(epoch from ${column}) * 1000)::float8`
}

const nowMs = sql`${msOf(sql`date_trunc('milliseconds', now())`)} as "nowMs"`

/**
 * Caps a timestamp at now: a clock that was ahead may have written one in the future, and no time shown of a user is in
 * the future.
 */
function past(atMs: number, row: DatedRow): number
function past(atMs: number | null, row: DatedRow): number | null
function past(atMs: number | null, row: DatedRow): number | null {
  return atMs === null ? null : Math.min(atMs, row.nowMs)
}

/** `last_seen` is stale if a process of a version without that column has written the row since. */
const shownMoments = sql`
  ${msOf(stored.lastActive)} as "lastActiveAtMs",
  case when not ${stored.isOnline} and ${stored.lastSeen} >= ${stored.lastActive}
    then ${msOf(stored.lastSeen)} end as "lastSeenAtMs"`

const settingsColumns = sql`
  ${stored.settingsVersion} as "settingsVersion", ${stored.chosenStatus} as "statusChoice",
  ${stored.statusMessage} as "statusMessage", ${stored.visibility}, ${stored.hideLastActive} as "hideLastActive"`

const storedColumns = sql`
  ${stored.id}, ${stored.name}, ${stored.avatarUrl} as "avatarUrl",
  ${shownMoments}, ${msOf(stored.profileIssuedAt)} as "profileIssuedAtMs",
  ${msOf(sql`greatest(${stored.tokensValidAfter}, ${outlivingRevocation(stored.id)})`)} as "tokensValidAfterMs", ${msOf(stored.onlineSince)} as "onlineSinceMs",
  ${nowMs}, ${settingsColumns}`

/**
 * Facts from a user's sessions that the user's row lacks. `userId` is the id of a row in scope.
 *
 * Activity lies within a session, so no session that ended before the last activity of the session that ended last can
 * have a later one. Only sessions that ended since are read, however long the history is. Retention saves the last
 * activity of deleted sessions in the row.
 */
function sessionFacts(userId: SQL): SQL {
  const ofUser = sql`${presenceSessions} where ${presenceSessions.userId} = ${userId}`
  const lastEnded = (column: SQL) => sql`
    (select ${column} from ${ofUser} and ${presenceSessions.endedAt} is not null
     order by ${presenceSessions.endedAt} desc limit 1)`
  return sql`
    ${msOf(sql`greatest(
      ${stored.pastLastActive},
      (select max(${presenceSessions.lastActive}) from ${ofUser} and ${presenceSessions.endedAt} is null),
      (select max(${presenceSessions.lastActive}) from ${ofUser}
        and ${presenceSessions.endedAt} >= ${lastEnded(sql`${presenceSessions.lastActive}`)})
    )`)} as "sessionsLastActiveAtMs",
    not exists (select from ${ofUser} and ${presenceSessions.endedAt} is null)
      and coalesce(${lastEnded(sql`${presenceSessions.endReason}`)} = 'WENT_OFFLINE', false) as "isActivityOver"`
}

/** The key of `revocations`. */
function hashOf(userId: unknown): SQL {
  return sql`sha256(convert_to(${userId}::text, 'UTF8'))`
}

/** The revocation that outlived an earlier row of the user; null if there is none. */
function outlivingRevocation(userId: unknown): SQL {
  return sql`(select ${revocations.tokensValidAfter} from ${revocations}
    where ${revocations.userHash} = ${hashOf(userId)})`
}

function ensureStatement(userId: string, profile: Profile | null, tokenIssuedAtMs: number | null): SQL {
  const tokenIssuedAt = tokenIssuedAtMs === null ? null : new Date(tokenIssuedAtMs).toISOString()
  const issuedAt = profile === null ? null : new Date(profile.issuedAtMs).toISOString()
  const name = profile?.name == null ? null : storable(profile.name)
  const avatarUrl = profile?.avatarUrl == null ? null : storable(profile.avatarUrl)
  // A row that exists and needs no update is read, not written: `made` is empty then.
  return sql`
    with made as (
      insert into ${users} as ${stored} (id, name, avatar_url, profile_issued_at)
      select ${userId}, ${name}::text, ${avatarUrl}::text, ${issuedAt}::timestamptz(3)
      where coalesce(${tokenIssuedAt}::timestamptz(3) > ${outlivingRevocation(userId)}, true)
      on conflict (id) do update set ${newerProfile}
      where excluded.profile_issued_at > coalesce(${stored.profileIssuedAt}, '-infinity')
      returning *
    )
    select ${storedColumns}, ${sessionFacts(sql`${stored.id}`)}
    from (
      select * from made
      union all
      select * from ${users} as ${stored} where ${stored.id} = ${userId} and not exists (select from made)
    ) as ${stored}`
}

/**
 * For `on conflict do update` of users: missing fields keep their value, and `updated_at` changes only with public
 * fields.
 */
export const newerProfile = sql`
  name = coalesce(excluded.name, ${stored.name}),
  avatar_url = coalesce(excluded.avatar_url, ${stored.avatarUrl}),
  profile_issued_at = excluded.profile_issued_at,
  updated_at = case
    when (coalesce(excluded.name, ${stored.name}), coalesce(excluded.avatar_url, ${stored.avatarUrl}))
      is distinct from (${stored.name}, ${stored.avatarUrl}) then now()
    else ${stored.updatedAt}
  end`

/**
 * A user who hides is offline in the public columns at once, and stays so whatever records are still under way; their
 * sessions keep the private state. `updated_at` changes only if hiding, or hiding `last_active`, changes a public
 * column.
 */
function settingsStatement(userId: string, change: SettingsChange, base: Settings | null): SQL {
  const statusMessage = change.statusMessage == null ? null : storable(change.statusMessage)
  const current = newerSettings(base)
  const visibility = sql`coalesce(${change.visibility ?? null}::text, ${current.visibility})`
  const hideLastActive = sql`coalesce(${change.hideLastActive ?? null}::boolean, ${current.hideLastActive})`
  const hides = sql`(${visibility} = 'NOBODY')`
  // `hide_last_active` takes effect at once in the statement that hides the user; for a user already hidden it waits
  // until they are visible again.
  const hidesLastActive = sql`(${hideLastActive} and not (${hides} and ${stored.visibility} = 'NOBODY'))`
  const isChange = sql`${Object.values(change).some((value) => value !== undefined)}::boolean`
  return sql`
    update ${users} as ${stored} set
      chosen_status = coalesce(${change.statusChoice ?? null}::text, ${current.statusChoice}),
      status_message = case when ${change.statusMessage !== undefined}::boolean then ${statusMessage}::text else ${current.statusMessage} end,
      visibility = ${visibility},
      hide_last_active = ${hideLastActive},
      settings_version = ${current.version} + case when ${isChange} or ${current.isOfTwoHistories} then 1 else 0 end,
      is_online = ${stored.isOnline} and not ${hides},
      online_since = case when ${hides} then null else ${stored.onlineSince} end,
      last_active = case when ${hidesLastActive} then null else ${stored.lastActive} end,
      -- The record of the LEAVE brings the moment by the live store's clock.
      last_seen = case
        when ${hidesLastActive} then null
        when ${hides} and ${stored.isOnline} then greatest(date_trunc('milliseconds', now()), ${stored.lastActive})
        else ${stored.lastSeen}
      end,
      updated_at = case
        when (${hides} and ${stored.isOnline}) or (${hidesLastActive} and ${stored.lastActive} is not null) then now()
        else ${stored.updatedAt}
      end
    where ${stored.id} = ${userId}
    returning ${settingsColumns}`
}

/** `newerSettings` of src/presence/rules.ts as SQL expressions, for the row's settings and the live store's. */
function newerSettings(base: Settings | null) {
  const message = base?.statusMessage == null ? null : storable(base.statusMessage)
  const given = {
    version: sql`${base?.version ?? null}::integer`,
    statusChoice: sql`${base?.statusChoice ?? null}::text`,
    statusMessage: sql`${message}::text`,
    visibility: sql`${base?.visibility ?? null}::text`,
    hideLastActive: sql`${base?.hideLastActive ?? null}::boolean`,
  }
  const isNewer = sql`coalesce(${given.version} > ${stored.settingsVersion}, false)`
  const isOfTwoHistories = sql`coalesce(${given.version} = ${stored.settingsVersion}
    and (${given.statusChoice}, ${given.statusMessage}, ${given.visibility}, ${given.hideLastActive}) is distinct from
      (${stored.chosenStatus}, ${stored.statusMessage}, ${stored.visibility}, ${stored.hideLastActive}), false)`
  const pick = (whereNewer: SQL, ofTwo: SQL, own: unknown): SQL =>
    sql`case when ${isNewer} then ${whereNewer} when ${isOfTwoHistories} then ${ofTwo} else ${own} end`
  return {
    isOfTwoHistories,
    version: sql`greatest(${given.version}, ${stored.settingsVersion})`,
    statusChoice: pick(given.statusChoice, sql`${stored.chosenStatus}`, stored.chosenStatus),
    statusMessage: pick(
      given.statusMessage,
      sql`case when ${given.statusMessage} is null then null else ${stored.statusMessage} end`,
      stored.statusMessage,
    ),
    visibility: pick(
      given.visibility,
      sql`case when ${given.visibility} = 'NOBODY' then 'NOBODY' else ${stored.visibility} end`,
      stored.visibility,
    ),
    hideLastActive: pick(
      given.hideLastActive,
      sql`(${given.hideLastActive} or ${stored.hideLastActive})`,
      stored.hideLastActive,
    ),
  }
}

function recordEndsStatement(ends: readonly RecordedEnd[]): SQL {
  const rows = ends.map((end) => ({
    id: end.startId,
    user_id: end.userId,
    client_session_id: end.sessionId,
    device: end.device,
    rooms: end.rooms,
    node: end.nodeId,
    started_ago: end.startedAgoMs,
    last_active_ago: end.lastActiveAgoMs,
    ended_ago: end.endedAgoMs,
    end_reason: end.endReason,
  }))
  const ago = (column: SQL) => sql`clock_timestamp() - ${column} * interval '1 millisecond'`
  return sql`
    with given as (
      select * from jsonb_to_recordset(${jsonOf(rows)}::jsonb) as given(
        id uuid, user_id text, client_session_id text, device text, rooms text[], node text,
        started_ago float8, last_active_ago float8, ended_ago float8, end_reason text
      )
    ),
    -- A user who was forgotten has nothing here from before that.
    remembered as (
      select * from given
      where coalesce(${outlivingRevocation(sql`given.user_id`)} < ${ago(sql`given.ended_ago`)}, true)
    ),
    known as (insert into ${users} (id) select distinct user_id from remembered on conflict (id) do nothing)
    insert into ${presenceSessions} as session (
      id, user_id, client_session_id, device, rooms, node, has_socket, started_at, last_active, ended_at, end_reason
    )
    select id, user_id, client_session_id, device, rooms, node, true,
      ${ago(sql`started_ago`)}, ${ago(sql`last_active_ago`)}, ${ago(sql`ended_ago`)}, end_reason
    from remembered
    on conflict (id) do update set ended_at = excluded.ended_at, end_reason = excluded.end_reason
    where session.ended_at is null and excluded.end_reason <> 'SERVER_RESTART'`
}

const NOTHING_LIVE: LivePart = { until: null, startIds: [], onlineIds: [] }

function leftOpenStatement(after: string | null, limit: number, { until, startIds, onlineIds }: LivePart): SQL {
  // The empty string sorts before every id.
  const from = after ?? ''
  const isInPage = (id: AnyColumn) => sql`${id} > ${from} and (${until}::text is null or ${id} <= ${until})`
  return sql`
    with left_open as (
      (select distinct ${presenceSessions.userId} as id from ${presenceSessions}
        where ${presenceSessions.endedAt} is null and ${isInPage(presenceSessions.userId)}
          and ${presenceSessions.id} not in (select jsonb_array_elements_text(${jsonOf(startIds)}::jsonb)::uuid)
        order by id limit ${limit}::bigint)
      union
      (select ${stored.id} from ${users} as ${stored}
        where ${stored.isOnline} and ${isInPage(stored.id)}
          and ${stored.id} not in (select jsonb_array_elements_text(${jsonOf(onlineIds)}::jsonb))
        order by id limit ${limit}::bigint)
      order by id limit ${limit}::bigint
    )
    select ${storedColumns}, ${sessionFacts(sql`${stored.id}`)}, ${sessionRows(isOpen)} as sessions
    from ${users} as ${stored} join left_open on left_open.id = ${stored.id}
    order by ${stored.id}`
}

function recordedStatement(inherited: readonly InheritedUser[]): SQL {
  const asked = inherited.map(({ userId, startIds }) => ({ id: userId, start_ids: startIds }))
  const hasEnded = sql`${presenceSessions.endedAt} is not null
    and ${presenceSessions.id} in (select jsonb_array_elements_text(asked.start_ids)::uuid)`
  return sql`
    select ${storedColumns}, ${sessionFacts(sql`${stored.id}`)},
      ${sessionRows(isOpen)} || ${sessionRows(hasEnded)} as sessions
    from jsonb_to_recordset(${jsonOf(asked)}::jsonb) as asked(id text, start_ids jsonb)
    join ${users} as ${stored} on ${stored.id} = asked.id`
}

const isOpen = sql`${presenceSessions.endedAt} is null`

/** The sessions of the row in scope as `SessionRow`s, ordered by their start. */
function sessionRows(condition: SQL): SQL {
  return sql`(
    select coalesce(jsonb_agg(jsonb_build_object(
      'startId', ${presenceSessions.id}, 'sessionId', ${presenceSessions.clientSessionId},
      'device', ${presenceSessions.device}, 'rooms', ${presenceSessions.rooms},
      'nodeId', ${presenceSessions.node}, 'hadSocket', ${presenceSessions.hasSocket},
      'startedAtMs', ${msOf(presenceSessions.startedAt)}, 'lastActiveAtMs', ${msOf(presenceSessions.lastActive)},
      'endedAtMs', ${msOf(presenceSessions.endedAt)}, 'endReason', ${presenceSessions.endReason}
    ) order by ${presenceSessions.startedAt}), '[]')
    from ${presenceSessions}
    where ${presenceSessions.userId} = ${stored.id} and ${condition}
  )`
}

function offlineUser(row: PublicRow): PublicUser {
  return {
    id: row.id,
    name: row.name ?? row.id,
    avatarUrl: row.avatarUrl,
    isOnline: false,
    status: 'OFFLINE',
    statusMessage: null,
    onlineSinceMs: null,
    lastActiveAtMs: past(row.lastActiveAtMs, row),
    lastSeenAtMs: past(row.lastSeenAtMs, row),
  }
}

function settingsOf(row: SettingsRow): Settings {
  return {
    version: row.settingsVersion,
    statusChoice: row.statusChoice,
    statusMessage: row.statusMessage,
    visibility: row.visibility,
    hideLastActive: row.hideLastActive,
  }
}

function storedUser(row: StoredRow): StoredUser {
  const { name, avatarUrl, profileIssuedAtMs } = row
  const lastActiveAtMs = past(row.lastActiveAtMs, row)
  const sessionsLastActiveAtMs = past(row.sessionsLastActiveAtMs, row)
  return {
    userId: row.id,
    seed: {
      settings: settingsOf(row),
      profile: profileIssuedAtMs === null ? null : { name, avatarUrl, issuedAtMs: profileIssuedAtMs },
      lastActiveAtMs:
        lastActiveAtMs === null || sessionsLastActiveAtMs === null
          ? (lastActiveAtMs ?? sessionsLastActiveAtMs)
          : Math.max(lastActiveAtMs, sessionsLastActiveAtMs),
      shownLastActiveAtMs: lastActiveAtMs,
      shownLastSeenAtMs: past(row.lastSeenAtMs, row),
      isActivityOver: row.isActivityOver,
    },
    tokensValidAfterMs: row.tokensValidAfterMs,
  }
}

function adoptedUser(row: LeftOpenRow): AdoptedUser {
  return {
    userId: row.id,
    seed: storedUser(row).seed,
    onlineSinceMs: past(row.onlineSinceMs, row),
    sessions: row.sessions.map((session) => ({
      ...session,
      startedAtMs: past(session.startedAtMs, row),
      lastActiveAtMs: past(session.lastActiveAtMs, row),
      endedAtMs: past(session.endedAtMs, row),
    })),
    tokensValidAfterMs: row.tokensValidAfterMs,
  }
}

/** For users without a row. */
const WITHOUT_A_ROW: Omit<AdoptedUser, 'userId'> = {
  seed: {
    settings: null,
    profile: null,
    lastActiveAtMs: null,
    shownLastActiveAtMs: null,
    shownLastSeenAtMs: null,
    isActivityOver: false,
  },
  onlineSinceMs: null,
  sessions: [],
  tokensValidAfterMs: null,
}
