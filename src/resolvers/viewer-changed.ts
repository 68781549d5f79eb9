import { callerOf, type RequestContext } from './context.ts'

export function subscribeViewerChanged(_root: unknown, _args: unknown, context: RequestContext): AsyncIterable<string> {
  return context.feed.viewerTicks(callerOf(context).userId)
}
