import type { StatusChoice, Visibility } from '../presence/model.ts'
import { callerOf, channelOf, type RequestContext } from './context.ts'
import type { ViewerPayload } from './viewer.ts'

export async function setStatus(
  _root: unknown,
  args: { status: StatusChoice; message?: string | null | undefined },
  context: RequestContext,
): Promise<ViewerPayload> {
  await context.presence.setStatus(callerOf(context), args.status, args.message)
  return { channel: channelOf(context, null) }
}

export async function setVisibility(
  _root: unknown,
  args: { visibility: Visibility; hideLastActive?: boolean | null | undefined },
  context: RequestContext,
): Promise<ViewerPayload> {
  await context.presence.setVisibility(callerOf(context), args.visibility, args.hideLastActive)
  return { channel: channelOf(context, null) }
}
