/**
 * The history of a user's sessions. Each method is one statement, which also removes the times in which the user hid.
 */
import { type SQL, sql } from 'drizzle-orm'
import type { History, HistoryPage, HistoryRequest, PastSession, ShownSession } from '../presence/history.ts'
import type { Database } from './client.ts'
import { msOf } from './directory.ts'
import { hiddenSpans, presenceSessions, users } from './tables.ts'

export function createHistory({ database }: { readonly database: Database }): History {
  async function pageOf<Row extends object>(query: SQL, first: number): Promise<HistoryPage<Placed<Row>>> {
    const rows = await database.run(async (drizzle) => [...(await drizzle.execute(query))] as unknown as Placed<Row>[])
    return { sessions: rows.slice(0, first), hasMore: rows.length > first }
  }

  return {
    async shown(userId, request) {
      const page = await pageOf<Omit<ShownSession, 'place'>>(shownStatement(userId, request), request.first)
      return { ...page, sessions: page.sessions.map(placed) }
    },

    async own(userId, request) {
      const page = await pageOf<Omit<PastSession, 'place'>>(ownStatement(userId, request), request.first)
      return { ...page, sessions: page.sessions.map(placed) }
    },
  }
}

type Placed<Row> = Row & { readonly placeId: string }

function placed<Row extends { readonly startedAtMs: number }>({ placeId, ...row }: Placed<Row>) {
  return { ...(row as unknown as Row), place: { startedAtMs: row.startedAtMs, id: placeId } }
}

function moment(atMs: number | null): SQL {
  return sql`to_timestamp(${atMs}::float8 / 1000)`
}

/** Whether a session was open within the requested period. */
function isAsked({ startedAt, endedAt }: Span, { fromMs, toMs }: HistoryRequest): SQL {
  return sql`(${endedAt} is null or ${fromMs}::float8 is null or ${endedAt} >= ${moment(fromMs)})
    and (${toMs}::float8 is null or ${startedAt} < ${moment(toMs)})`
}

interface Span {
  readonly startedAt: SQL
  readonly endedAt: SQL
}

/** A clock that was set back may end a session before its start; such a session ends at its start. */
const session: Span = {
  startedAt: sql`session.started_at`,
  endedAt: sql`case when session.ended_at is not null then greatest(session.started_at, session.ended_at) end`,
}

function inOrder({ startedAt }: Span, id: SQL, { after, first }: HistoryRequest): SQL {
  const isAfter =
    after === null ? sql`true` : sql`(${startedAt}, ${id}) < (${moment(after.startedAtMs)}, ${after.id}::text)`
  return sql`${isAfter} order by ${startedAt} desc, ${id} desc limit ${first + 1}::bigint`
}

function ownStatement(userId: string, request: HistoryRequest): SQL {
  const id = sql`session.id::text`
  const spans = sql`(
    select coalesce(jsonb_agg(jsonb_build_object(
      'startedAtMs', ${msOf(sql`greatest(span.started_at, ${session.startedAt})`)},
      'endedAtMs', ${msOf(sql`least(span.ended_at, ${session.endedAt})`)}
    ) order by span.started_at), '[]')
    from ${hiddenSpans} as span
    where span.user_id = session.user_id
      and (${session.endedAt} is null or span.started_at < ${session.endedAt})
      and (span.ended_at is null or span.ended_at > ${session.startedAt})
  )`
  return sql`
    select ${id} as "placeId", session.client_session_id as "sessionId", session.device,
      ${msOf(session.startedAt)} as "startedAtMs", ${msOf(session.endedAt)} as "endedAtMs",
      session.end_reason as "endReason", ${msOf(sql`session.last_active`)} as "lastActiveAtMs",
      case when session.started_at >= coalesce(stored.hiding_known_since, '-infinity') then ${spans} end as "hiddenSpans"
    from ${presenceSessions} as session join ${users} as stored on stored.id = session.user_id
    where session.user_id = ${userId} and ${isAsked(session, request)} and ${inOrder(session, id, request)}`
}

/**
 * The parts of each session outside the times in which the user hid. A part that ends because the user hid looks like
 * one that `goOffline` ended, and nothing links two parts of one session: a part's id is a hash.
 */
function shownStatement(userId: string, request: HistoryRequest): SQL {
  const piece: Span = { startedAt: sql`piece.started_at`, endedAt: sql`piece.ended_at` }
  return sql`
    with hidden as (
      select coalesce(range_agg(tstzrange(span.started_at, span.ended_at)), '{}') as spans
      from ${hiddenSpans} as span where span.user_id = ${userId}
    ),
    piece as (
      select lower(part) as started_at, upper(part) as ended_at, session.device,
        case when upper_inc(part) then session.end_reason when upper(part) is not null then 'WENT_OFFLINE' end as end_reason,
        md5(session.id::text || ' ' || extract(epoch from lower(part))::text) as id
      from ${presenceSessions} as session
      join ${users} as stored on stored.id = session.user_id and session.started_at >= coalesce(stored.hiding_known_since, '-infinity')
      cross join hidden
      cross join lateral unnest(tstzmultirange(
        tstzrange(session.started_at, ${session.endedAt}, case when session.ended_at is null then '[)' else '[]' end)
      ) - hidden.spans) as part
      where session.user_id = ${userId} and ${isAsked(session, request)}
    )
    select piece.id as "placeId", piece.device, ${msOf(piece.startedAt)} as "startedAtMs",
      ${msOf(piece.endedAt)} as "endedAtMs", piece.end_reason as "endReason"
    from piece where ${isAsked(piece, request)} and ${inOrder(piece, sql`piece.id`, request)}`
}
