import { requireAudience, requireUsers } from '../presence/access.ts'
import { parseRoom, parseUserIds } from '../presence/bounds.ts'
import type { ChangeFilter } from '../presence/changes.ts'
import { badInput } from '../presence/errors.ts'
import type { ChangeEvent } from '../presence/feed.ts'
import { type Position, parsePosition } from '../presence/position.ts'
import { callerOf, type RequestContext } from './context.ts'

export interface PresenceChangedArgs {
  readonly room?: string | null | undefined
  readonly userIds?: readonly string[] | null | undefined
  readonly after?: string | null | undefined
}

export function subscribePresenceChanged(
  _root: unknown,
  args: PresenceChangedArgs,
  context: RequestContext,
): Promise<AsyncIterable<ChangeEvent>> {
  const filter = filterOf(args, context)
  const after = afterOf(args, context)
  const { userId } = callerOf(context)
  return context.feed.changes(filter, after, context.group, { userId, charge: context.charge })
}

function afterOf({ after }: PresenceChangedArgs, { lastEventId }: RequestContext): Position | null {
  if (typeof lastEventId === 'string') return parsePosition('Last-Event-ID', lastEventId)
  return typeof after === 'string' ? parsePosition('after', after) : null
}

function filterOf({ room, userIds }: PresenceChangedArgs, context: RequestContext): ChangeFilter {
  const caller = callerOf(context)
  if (typeof room === 'string' && userIds) throw badInput('userIds', 'left out where `room` is given')
  if (userIds) {
    parseUserIds('userIds', userIds)
    requireUsers(caller, userIds)
    return { kind: 'users', userIds: new Set(userIds) }
  }
  requireAudience(caller, typeof room === 'string' ? parseRoom('room', room) : null)
  return typeof room === 'string' ? { kind: 'room', room } : { kind: 'everyone' }
}
