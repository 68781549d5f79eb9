/**
 * The bell: what happens in the store is said at once on one channel, to every node.
 *
 * RedisPubSub of graphql-redis-subscriptions subscribes, parses what comes and hands it to the listener. It numbers
 * nothing and promises nothing, so every message carries a number, and what was lost is read from the streams
 * (change-follower.ts).
 */
import { setTimeout as pass } from 'node:timers/promises'
import { RedisPubSub } from 'graphql-redis-subscriptions'
import type { Connection } from './connect.ts'

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
  /** Drops the connection and makes a new one. */
  reconnect(): void
  close(): void
}

export interface BellOptions {
  /**
   * A connection of its own, for one that listens takes no other commands. Without `autoResubscribe`: a failure of
   * that would be nobody's to catch.
   */
  readonly connection: Connection
  readonly channel: string
  readonly onMessage: (message: BellMessage) => void
  /** It listens, for the first time or again: what was said before may be lost. */
  readonly onListening: () => void
  readonly onError: (error: unknown) => void
}

export function openBell({ connection, channel, onMessage, onListening, onError }: BellOptions): Bell {
  const { redis } = connection
  const pubSub = new RedisPubSub({ subscriber: redis, publisher: redis })
  let hasSubscribed = false
  let startsListening = (): void => {}
  const listening = new Promise<void>((resolve) => {
    startsListening = resolve
  })

  async function subscribe(): Promise<void> {
    try {
      // The library does it once, and keeps the listener; on a later connection the channel is all that is missing.
      if (hasSubscribed) await redis.subscribe(channel)
      else await pubSub.subscribe(channel, onMessage)
      hasSubscribed = true
      startsListening()
      onListening()
    } catch (error) {
      onError(error)
      await pass(RETRY_MS, undefined, { ref: false })
      connection.reconnect()
    }
  }

  // The connections that work say that Redis is away.
  redis.on('error', () => {})
  redis.on('ready', () => void subscribe())

  return {
    listening,
    reconnect: connection.reconnect,
    close: connection.close,
  }
}

const RETRY_MS = 100
