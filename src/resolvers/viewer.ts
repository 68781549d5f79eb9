import type { SessionView, ViewerState } from '../presence/model.ts'
import type { SessionChannel } from '../presence/presence.ts'
import { callerOf, channelOf, currentSessionIdOf, type RequestContext } from './context.ts'

/** The user's own view, with the session through which they look. */
export interface ViewerModel {
  readonly state: ViewerState
  readonly currentSessionId: string
}

export interface SessionModel {
  readonly view: SessionView
  readonly isCurrent: boolean
}

/** What mutations about the user's own state leave for their payload's `viewer`. */
export interface ViewerPayload {
  readonly channel: SessionChannel
}

export async function viewer(_root: unknown, _args: unknown, context: RequestContext): Promise<ViewerModel> {
  return viewerThrough(channelOf(context, null), context)
}

export function payloadViewer(
  { channel }: ViewerPayload,
  _args: unknown,
  context: RequestContext,
): Promise<ViewerModel> {
  return viewerThrough(channel, context)
}

async function viewerThrough(channel: SessionChannel, context: RequestContext): Promise<ViewerModel> {
  return {
    state: await context.presence.viewer(callerOf(context)),
    currentSessionId: currentSessionIdOf(context, channel),
  }
}

/**
 * Relay merges all records that have one id, whatever their types: a viewer with the id of their user would be shown to
 * themselves as others see them.
 */
export function viewerIdOf(userId: string): string {
  return `viewer:${userId}`
}

export function sessions({ state, currentSessionId }: ViewerModel): SessionModel[] {
  return state.sessions.map((view) => ({ view, isCurrent: view.id === currentSessionId }))
}
