/**
 * The bell: one pub/sub channel on which the scripts notify every node of each step.
 *
 * RedisPubSub of graphql-redis-subscriptions parses each message and passes it to the listener. Pub/sub guarantees no
 * delivery, so every message has a number, and missing entries are read from the streams (change-follower.ts).
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { RedisPubSub } from 'graphql-redis-subscriptions'
import type { Redis } from 'ioredis'
import { type BellMessage, bellMessage } from './bell-message.ts'
import type { Connection } from './connect.ts'
import { whyForbidden } from './refusals.ts'

export interface Bell {
  /** Resolves when the channel is subscribed for the first time. */
  readonly listening: Promise<void>
  /** Whether the channel is subscribed now, so that messages arrive. */
  isListening(): boolean
  /** A sentence for the operator if a right to subscribe is missing; null if none is, or Redis is unreachable. */
  trouble(): string | null
  /** Drops the connection and opens a new one. */
  reconnect(): void
  close(): void
}

export interface BellOptions {
  /**
   * A separate connection, because a subscribed one takes no other commands. It must have `autoResubscribe` off:
   * nothing could catch a failure of that.
   */
  readonly connection: Connection
  readonly channel: string
  readonly onMessage: (message: BellMessage) => void
  /** Called for each message of another form: it can be a damaged one of Rollcall, so an entry may be missing. */
  readonly onStrange: () => void
  /** Called each time the channel has been subscribed: earlier messages may be lost. */
  readonly onListening: () => void
  /** Called once per outage if the channel cannot be subscribed. */
  readonly onError: (error: unknown) => void
  /** Called once if the user in REDIS_URL lacks a right. */
  readonly onRefused: (reason: string) => void
}

export function openBell(options: BellOptions): Bell {
  const { connection, channel, onMessage, onStrange, onListening, onError, onRefused } = options
  const { redis } = connection
  const pubSub = new RedisPubSub({ subscriber: withoutSubscribe(redis), publisher: redis })
  /** The channel begins with the root, as all keys of the app do. */
  const root = channel.replace(/:[^:]*$/, '')
  let refusal: string | null = null
  let isWarned = false
  let isListening = false
  let startsListening = (): void => {}
  const listening = new Promise<void>((resolve) => {
    startsListening = resolve
  })

  async function subscribe(): Promise<void> {
    try {
      await redis.subscribe(channel)
      refusal = null
      isWarned = false
      isListening = true
      connection.answers()
      startsListening()
      onListening()
    } catch (error) {
      const forbidden = error instanceof Error ? whyForbidden(error.message, root) : null
      if (forbidden === null) {
        if (!isWarned) onError(error)
        isWarned = true
      } else if (forbidden !== refusal) onRefused(forbidden)
      refusal = forbidden
      await sleep(RETRY_MS, undefined, { ref: false })
      connection.reconnect()
    }
  }

  /** @param value - the message as the library parsed it; the text itself if it is not JSON */
  function hear(value: unknown): void {
    const message = bellMessage(value)
    if (message === null) onStrange()
    else onMessage(message)
  }

  pubSub.subscribe(channel, hear).catch(onError)
  // The other connections report that Redis is unreachable.
  redis.on('error', () => {})
  redis.on('ready', () => void subscribe())
  redis.on('close', () => {
    isListening = false
  })

  return {
    listening,
    isListening: () => isListening,
    trouble: () => refusal,
    reconnect: connection.reconnect,
    close: connection.close,
  }
}

const RETRY_MS = 100

/**
 * The connection for the library, without `subscribe`. If a connection is lost before SUBSCRIBE is answered, the
 * library rejects an internal promise that cannot be caught, which ends the process. So this file subscribes, on each
 * connection.
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
