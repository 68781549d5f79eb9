/**
 * The bell: what happens in the store is said at once on one channel, to every node.
 *
 * RedisPubSub of graphql-redis-subscriptions parses what comes and hands it to the listener. It numbers nothing and
 * promises nothing, so every message carries a number, and what was lost is read from the streams
 * (change-follower.ts).
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { RedisPubSub } from 'graphql-redis-subscriptions'
import type { Redis } from 'ioredis'
import type { Connection } from './connect.ts'

/** ring in lua/shared/commit.lua. Each field but the first two may be missing. */
export interface BellMessage {
  readonly epoch: string
  /** One more than that of the message before, in an epoch. */
  readonly bell: number
  /** An entry of the change log: its number, and itself as JSON. */
  readonly seq?: number
  readonly entry?: string
  /** Where the entry names no rooms, what changed of them, as JSON: an element of lua/shared/trail.lua. */
  readonly rooms?: string
  /** Whose own view changed. */
  readonly viewer?: string
  /** The number of a record. */
  readonly record?: number
  /** The number of a dismissal. */
  readonly dismissal?: number
  /** Nodes whose sockets lost sessions by this step, and should learn it at once. */
  readonly lostBy?: readonly string[]
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
  const pubSub = new RedisPubSub({ subscriber: withoutSubscribe(redis), publisher: redis })
  let startsListening = (): void => {}
  const listening = new Promise<void>((resolve) => {
    startsListening = resolve
  })

  async function subscribe(): Promise<void> {
    try {
      await redis.subscribe(channel)
      startsListening()
      onListening()
    } catch (error) {
      onError(error)
      await sleep(RETRY_MS, undefined, { ref: false })
      connection.reconnect()
    }
  }

  pubSub.subscribe(channel, onMessage).catch(onError)
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

/**
 * What the library gets to see: where the connection is lost before its SUBSCRIBE is answered, a promise of its own is
 * rejected that nobody can catch, and that ends the process. So the channel is subscribed here, on every connection.
 */
function withoutSubscribe(redis: Redis): Redis {
  return new Proxy(redis, {
    get(target, name) {
      if (name === 'subscribe') return (_channel: string, done: (error: null) => void) => done(null)
      const value: unknown = Reflect.get(target, name)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}
