import { formatPosition, type Position } from '../presence/position.ts'
import { callerOf, type RequestContext } from './context.ts'

export async function position(_root: unknown, _args: unknown, context: RequestContext): Promise<string> {
  callerOf(context)
  return formatPosition(await context.position())
}

export function subscribePositionAdvanced(
  _root: unknown,
  _args: unknown,
  context: RequestContext,
): AsyncIterable<Position> {
  callerOf(context)
  return context.feed.positions(context.group)
}
