import { BOUNDS } from '../presence/bounds.ts'
import { badInput } from '../presence/errors.ts'
import type { Page } from '../presence/store.ts'
import { callerOf, type RequestContext } from './context.ts'

export interface OnlineUsersArgs {
  readonly room?: string | null | undefined
  readonly first?: number | null | undefined
  readonly after?: string | null | undefined
}

export const DEFAULT_PAGE_SIZE = 50

export async function onlineUsers(_root: unknown, args: OnlineUsersArgs, context: RequestContext): Promise<Page> {
  const after = typeof args.after === 'string' ? parseCursor('after', args.after) : null
  return context.presence.page(callerOf(context), args.room ?? null, args.first ?? DEFAULT_PAGE_SIZE, after)
}

export function onlineCount(
  _root: unknown,
  args: { room?: string | null | undefined },
  context: RequestContext,
): Promise<number> {
  return context.presence.count(callerOf(context), args.room ?? null)
}

/** Pages are ordered by user id, so an id is a cursor. Marked, so that other texts are seen not to be ours. */
export function cursorOf(userId: string): string {
  return Buffer.from(`u:${userId}`).toString('base64url')
}

function parseCursor(argument: string, cursor: string): string {
  const text = cursor.length <= 2 * BOUNDS.userIdBytes ? Buffer.from(cursor, 'base64url').toString() : ''
  const userId = text.slice(2)
  if (userId === '' || cursorOf(userId) !== cursor) throw badInput(argument, 'a cursor that this server gave')
  return userId
}
