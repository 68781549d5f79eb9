/** What only tokens with the role `service` may do. */
import type { PublicUser } from '../presence/model.ts'
import { callerOf, type RequestContext } from './context.ts'

export function disconnectUser(
  _root: unknown,
  args: { userId: string },
  context: RequestContext,
): Promise<{ userId: string; sessionCount: number }> {
  return context.presence.disconnectUser(callerOf(context), args.userId)
}

export function forgetUser(
  _root: unknown,
  args: { userId: string },
  context: RequestContext,
): Promise<{ userId: string; sessionCount: number }> {
  return context.presence.forgetUser(callerOf(context), args.userId)
}

export async function updateUser(
  _root: unknown,
  args: { userId: string; name?: string | null | undefined; avatarUrl?: string | null | undefined },
  context: RequestContext,
): Promise<{ user: PublicUser }> {
  const { name = null, avatarUrl = null } = args
  return { user: await context.presence.updateUser(callerOf(context), args.userId, { name, avatarUrl }) }
}
