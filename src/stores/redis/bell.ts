/**
 * The bell: what happens in the store is said at once on one channel, to every node.
 *
 * RedisPubSub of graphql-redis-subscriptions subscribes, subscribes again after each reconnect, parses what comes and
 * hands it to the listener. It numbers nothing and promises nothing, so every message carries a number, and what was
 * lost is read from the streams (change-follower.ts).
 */
import { RedisPubSub } from 'graphql-redis-subscriptions'
import type { Redis } from 'ioredis'

/** ring in lua/shared/commit.lua. Each field but the first two may be missing. */
export interface BellMessage {
  readonly epoch: string
  /** One more than that of the message before, in an epoch. */
  readonly bell: number
  /** An entry of the change log: its number, and itself as JSON. */
  readonly seq?: number
  readonly entry?: string
  /** Whose own view changed. */
  readonly viewer?: string
  /** The number of a record. */
  readonly record?: number
  /** The number of a dismissal. */
  readonly dismissal?: number
  /** The time of announcements is over. */
  readonly isOpen?: boolean
}

export interface Bell {
  /** Resolves when it listens for the first time. */
  readonly listening: Promise<void>
  close(): Promise<void>
}

export interface BellOptions {
  /** A connection of its own: one that listens takes no other commands. */
  readonly redis: Redis
  readonly channel: string
  readonly onMessage: (message: BellMessage) => void
  /** It listens, for the first time or again: what was said before may be lost. */
  readonly onListening: () => void
  readonly onError: (error: unknown) => void
}

export function openBell({ redis, channel, onMessage, onListening, onError }: BellOptions): Bell {
  const pubSub = new RedisPubSub({ subscriber: redis, publisher: redis })
  let subscribing: Promise<number> | null = null
  let startsListening = (): void => {}
  const listening = new Promise<void>((resolve) => {
    startsListening = resolve
  })

  // The connections that work say that Redis is away.
  redis.on('error', () => {})
  redis.on('ready', () => {
    // The library subscribes once; ioredis does it again on every later connection, before it says `ready`.
    subscribing ??= pubSub.subscribe(channel, onMessage)
    subscribing.then(
      () => {
        startsListening()
        onListening()
      },
      (error) => {
        subscribing = null
        onError(error)
        redis.disconnect(true)
      },
    )
  })

  return {
    listening,
    async close() {
      redis.disconnect()
    },
  }
}
