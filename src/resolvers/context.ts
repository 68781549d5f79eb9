/** What a resolver knows of who asks and how, and the services that it calls. */
import { type Caller, requireCaller } from '../presence/access.ts'
import { DEFAULT_SESSION_ID } from '../presence/bounds.ts'
import type { ChangeFeed, FeedGroup } from '../presence/feed.ts'
import type { Position } from '../presence/position.ts'
import type { Presence, SessionChannel } from '../presence/presence.ts'

export interface RequestContext {
  /** Null where the request brought no token. */
  readonly caller: Caller | null
  readonly presence: Presence
  readonly feed: ChangeFeed
  /** The socket that the request came by; null over HTTP. */
  readonly channel: SessionChannel | null
  /** The session that the request named, in its header or in `extensions` over a socket; null where it named none. */
  readonly namedSessionId: string | null
  /** What the socket or the event stream follows. */
  readonly group: FeedGroup
  /** The position that an event stream goes on after, whatever its argument `after` says: its client sends the last `id`. */
  readonly lastEventId: string | null
  /** Takes work from who asks, in units of about a microsecond. @throws PresenceError `RATE_LIMITED` */
  readonly charge: (units: number) => void
  /** The place in the log before anything else of the answer was read. The same for all that ask within one request. */
  readonly position: () => Promise<Position>
}

export function callerOf(context: RequestContext): Caller {
  return requireCaller(context.caller)
}

/**
 * Whose session the words of a request are about: the one that the argument names, else the one that the request names
 * as a whole, else the socket's own, else `default`.
 *
 * @throws PresenceError `BAD_USER_INPUT` for an id of no known form
 */
export function channelOf(context: RequestContext, sessionIdArgument: string | null | undefined): SessionChannel {
  const caller = callerOf(context)
  const sessionId = context.presence.parseSessionId('sessionId', sessionIdArgument) ?? context.namedSessionId
  const { channel } = context
  if (channel !== null && (sessionId === null || sessionId === channel.sessionId)) return channel
  return context.presence.httpChannel(caller, sessionId)
}

/**
 * The session that `isCurrent` means: the one that the request names as a whole, else the socket's own, else the one
 * that the request is about.
 */
export function currentSessionIdOf({ channel, namedSessionId }: RequestContext, about: SessionChannel): string {
  return namedSessionId ?? channel?.sessionId ?? about.sessionId ?? DEFAULT_SESSION_ID
}
