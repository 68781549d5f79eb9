/**
 * How the clients of a server speak: what the load generator asks becomes the messages of a protocol, and the
 * messages of the server become what the generator looks at.
 */
import type { Change } from '../peers/presence.ts'

/** Who a connection is. */
export interface Credentials {
  readonly userId: string
  readonly sessionId: string
  readonly token: string
}

export type Ask =
  /** Changes in a room, or where it is null of everyone (Rollcall only). */
  | { readonly kind: 'follow'; readonly room: string | null; readonly selection?: number }
  | { readonly kind: 'watch'; readonly userIds: readonly string[] }
  /** Ends what was followed or watched last (Rollcall only). */
  | { readonly kind: 'unfollow' }
  | { readonly kind: 'join' | 'leave'; readonly room: string }
  /** With a session, of that one and without activity (Rollcall only). */
  | { readonly kind: 'heartbeat'; readonly passiveSessionId?: string }
  /** Ends all sessions of the user (Rollcall only). */
  | { readonly kind: 'goOffline' }

export interface Message {
  readonly texts: readonly string[]
  /** The id of the answer after which it is done. */
  readonly answeredBy: string
}

export type Heard =
  | { readonly kind: 'welcome' }
  | { readonly kind: 'change'; readonly change: Change }
  | { readonly kind: 'answer'; readonly id: string }
  /** What the server asks for at once: a pong, or who it is. */
  | { readonly kind: 'reply'; readonly text: string }
  | { readonly kind: 'refusal'; readonly text: string }
  | { readonly kind: 'nothing' }

/** One connection's side of a conversation. */
export interface Speaker {
  /** What a client says as soon as its socket is open, null where the server speaks first. */
  readonly hello: string | null
  say(ask: Ask): Message
  /** Parses the whole message. */
  hear(text: string): Heard
}

export interface Dialect {
  readonly path: string
  readonly subprotocol: string | null
  speaker(credentials: Credentials): Speaker
}

export const NOTHING: Heard = { kind: 'nothing' }
export const WELCOME: Heard = { kind: 'welcome' }

/** A heartbeat is answered with what a client needs to send the next one. */
export function isBeat(value: unknown): boolean {
  return (
    typeof value === 'object' &&
    value !== null &&
    'expiresAt' in value &&
    'nextHeartbeatInMs' in value &&
    typeof value.nextHeartbeatInMs === 'number'
  )
}
