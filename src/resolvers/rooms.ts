import { callerOf, channelOf, currentSessionIdOf, type RequestContext } from './context.ts'
import type { SessionModel } from './viewer.ts'

export interface RoomArgs {
  readonly room: string
  readonly sessionId?: string | null | undefined
}

export interface RoomPayload {
  readonly session: SessionModel
}

export function joinRoom(_root: unknown, args: RoomArgs, context: RequestContext): Promise<RoomPayload> {
  return changeRoom('join', args, context)
}

export function leaveRoom(_root: unknown, args: RoomArgs, context: RequestContext): Promise<RoomPayload> {
  return changeRoom('leave', args, context)
}

async function changeRoom(kind: 'join' | 'leave', args: RoomArgs, context: RequestContext): Promise<RoomPayload> {
  const channel = channelOf(context, args.sessionId)
  const view = await context.presence.changeRoom(callerOf(context), channel, kind, args.room)
  return { session: { view, isCurrent: view.id === currentSessionIdOf(context, channel) } }
}
