import { type GraphQLResolveInfo, Kind } from 'graphql'
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

export async function heartbeat(
  _root: unknown,
  args: HeartbeatArgs,
  context: RequestContext,
  info: Pick<GraphQLResolveInfo, 'fieldNodes'>,
): Promise<HeartbeatModel> {
  const channel = channelOf(context, args.sessionId)
  const words = context.presence.parseHeartbeatInput(callerOf(context), args, { mayWait: needsNoSession(info) })
  const { session, nextHeartbeatInMs } = await channel.heartbeat(words)
  return { session, nextHeartbeatInMs, channel }
}

/** Fields whose answer is the same whether the activity counts at once or soon: while a socket holds it, no session expires. */
const FIELDS_WITHOUT_SESSION: ReadonlySet<string> = new Set(['nextHeartbeatInMs', 'expiresAt', '__typename'])

/** Whether the answer tells nothing of the session or the viewer. A fragment may ask for anything. */
function needsNoSession({ fieldNodes }: Pick<GraphQLResolveInfo, 'fieldNodes'>): boolean {
  return fieldNodes.every(({ selectionSet }) =>
    selectionSet?.selections.every(
      (selection) => selection.kind === Kind.FIELD && FIELDS_WITHOUT_SESSION.has(selection.name.value),
    ),
  )
}

export function heartbeatSession(
  { session, channel }: HeartbeatModel,
  _args: unknown,
  context: RequestContext,
): SessionModel | null {
  if (session === null) return null
  return { view: session, isCurrent: session.id === currentSessionIdOf(context, channel) }
}
