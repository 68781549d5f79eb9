import { callerOf, channelOf, type RequestContext } from './context.ts'
import type { ViewerPayload } from './viewer.ts'

export async function goOffline(
  _root: unknown,
  args: { sessionId?: string | null | undefined; everywhere?: boolean | null | undefined },
  context: RequestContext,
): Promise<ViewerPayload> {
  const channel = channelOf(context, args.sessionId)
  await context.presence.goOffline(callerOf(context), channel, args.everywhere ?? false)
  return { channel }
}
