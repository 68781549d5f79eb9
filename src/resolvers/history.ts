import type { GraphQLResolveInfo } from 'graphql'
import { badInput } from '../presence/errors.ts'
import type { HistoryPage, HistoryPlace, PastSession, ShownSession } from '../presence/history.ts'
import type { AskedHistory } from '../presence/presence.ts'
import { callerOf, type RequestContext } from './context.ts'
import { DEFAULT_PAGE_SIZE } from './online-users.ts'

/** What a page of the history costs beside its fields: the sessions of one user are read in Postgres. */
export const HISTORY_UNITS = 1000

export interface HistoryArgs {
  readonly from?: string | null | undefined
  readonly to?: string | null | undefined
  readonly first?: number | null | undefined
  readonly after?: string | null | undefined
}

export function presenceHistory(
  _root: unknown,
  { userId, ...args }: HistoryArgs & { readonly userId: string },
  context: RequestContext,
): Promise<HistoryPage<ShownSession>> {
  return context.presence.history(callerOf(context), userId, askedBy(args))
}

export function viewerHistory(
  _viewer: unknown,
  args: HistoryArgs,
  context: RequestContext,
  { operation }: Pick<GraphQLResolveInfo, 'operation'>,
): Promise<HistoryPage<PastSession>> {
  // An operation pays when it begins. Each event of a subscription reads the database again, and pays for it.
  if (operation.operation === 'subscription') context.charge(HISTORY_UNITS)
  return context.presence.ownHistory(callerOf(context), askedBy(args))
}

function askedBy({ from, to, first, after }: HistoryArgs): AskedHistory {
  return {
    from: from ?? null,
    to: to ?? null,
    first: first ?? DEFAULT_PAGE_SIZE,
    after: typeof after === 'string' ? parseCursor('after', after) : null,
  }
}

/** Marked, so that other texts are seen not to be ours. */
export function historyCursorOf({ startedAtMs, id }: HistoryPlace): string {
  return Buffer.from(`h:${startedAtMs}:${id}`).toString('base64url')
}

const CURSOR = /^h:(-?\d{1,15}):([0-9a-f-]{32,36})$/

function parseCursor(argument: string, cursor: string): HistoryPlace {
  const match = cursor.length <= 100 ? CURSOR.exec(Buffer.from(cursor, 'base64url').toString()) : null
  const place = { startedAtMs: Number(match?.[1]), id: String(match?.[2]) }
  if (match === null || historyCursorOf(place) !== cursor) throw badInput(argument, 'a cursor that this server gave')
  return place
}
