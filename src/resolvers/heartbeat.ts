import type { HeartbeatResult } from '../presence/presence.ts'
import { callerOf, channelOf, currentSessionIdOf, type RequestContext } from './context.ts'
import type { SessionModel, ViewerPayload } from './viewer.ts'

export interface HeartbeatArgs {
  readonly sessionId?: string | null | undefined
  readonly active?: boolean | null | undefined
  readonly device?: string | null | undefined
  readonly rooms?: readonly string[] | null | undefined
}

export interface HeartbeatModel extends HeartbeatResult, ViewerPayload {}

export async function heartbeat(_root: unknown, args: HeartbeatArgs, context: RequestContext): Promise<HeartbeatModel> {
  const channel = channelOf(context, args.sessionId)
  const { session, nextHeartbeatInMs } = await channel.heartbeat(
    context.presence.parseHeartbeatInput(callerOf(context), args),
  )
  return { session, nextHeartbeatInMs, channel }
}

export function heartbeatSession(
  { session, channel }: HeartbeatModel,
  _args: unknown,
  context: RequestContext,
): SessionModel | null {
  if (session === null) return null
  return { view: session, isCurrent: session.id === currentSessionIdOf(context, channel) }
}
