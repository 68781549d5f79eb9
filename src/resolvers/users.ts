import type { PublicUser } from '../presence/model.ts'
import { callerOf, type RequestContext } from './context.ts'

export function user(_root: unknown, args: { id: string }, context: RequestContext): Promise<PublicUser | null> {
  return context.presence.user(callerOf(context), args.id)
}

export function users(
  _root: unknown,
  args: { ids: readonly string[] },
  context: RequestContext,
): Promise<(PublicUser | null)[]> {
  return context.presence.users(callerOf(context), args.ids)
}
