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
import { type BellMessage, bellMessage } from './bell-message.ts'
import type { Connection } from './connect.ts'
import { whyForbidden } from './refusals.ts'

export interface Bell {
  /** Resolves when it listens for the first time. */
  readonly listening: Promise<void>
  /** Which right it lacks to listen, for an operator; null where it has it, or Redis is away. */
  trouble(): string | null
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
  /** Called with each message that is not of our form: it may have been one of ours, so something may be missing. */
  readonly onStrange: () => void
  /** It listens, for the first time or again: what was said before may be lost. */
  readonly onListening: () => void
  /** Called once where it cannot listen, until it listens again. */
  readonly onError: (error: unknown) => void
  /** Called once where the user in REDIS_URL lacks a right. */
  readonly onRefused: (reason: string) => void
}

export function openBell(options: BellOptions): Bell {
  const { connection, channel, onMessage, onStrange, onListening, onError, onRefused } = options
  const { redis } = connection
  const pubSub = new RedisPubSub({ subscriber: withoutSubscribe(redis), publisher: redis })
  /** All keys of an app begin with the same, and so does its channel. */
  const root = channel.replace(/:[^:]*$/, '')
  let refusal: string | null = null
  let isWarned = false
  let startsListening = (): void => {}
  const listening = new Promise<void>((resolve) => {
    startsListening = resolve
  })

  async function subscribe(): Promise<void> {
    try {
      await redis.subscribe(channel)
      refusal = null
      isWarned = false
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

  /** @param value - what the library parsed; a text that is no JSON as it came */
  function hear(value: unknown): void {
    const message = bellMessage(value)
    if (message === null) onStrange()
    else onMessage(message)
  }

  pubSub.subscribe(channel, hear).catch(onError)
  // The connections that work say that Redis is away.
  redis.on('error', () => {})
  redis.on('ready', () => void subscribe())

  return {
    listening,
    trouble: () => refusal,
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
