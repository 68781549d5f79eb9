import { requireAudience } from '../presence/access.ts'
import { parseRoom } from '../presence/bounds.ts'
import type { CountEvent } from '../presence/feed.ts'
import { callerOf, type RequestContext } from './context.ts'

export function subscribeOnlineCountChanged(
  _root: unknown,
  args: { room?: string | null | undefined },
  context: RequestContext,
): AsyncIterable<CountEvent> {
  const room = typeof args.room === 'string' ? parseRoom('room', args.room) : null
  requireAudience(callerOf(context), room)
  return context.feed.counts(room)
}
