/**
 * graphql-sse's single connection mode: one event stream for all operations of a client, each started by a request of
 * its own. Browsers open at most six connections to a host over HTTP/1.1, and a stream occupies one.
 *
 * https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md#single-connection-mode
 */
import { randomUUID } from 'node:crypto'
import type { ExecutionResult } from 'graphql'
import type { Caller } from '../presence/access.ts'
import { badInput, PresenceError } from '../presence/errors.ts'
import type { FeedGroup } from '../presence/feed.ts'
import type { OperationItem } from './event-streams.ts'
import { MAX_ID_CHARACTERS } from './operation-ids.ts'
import type { ItemStream, Results, StreamConnection, Streams } from './streams.ts'

/** The header that names the stream. */
export const STREAM_TOKEN = 'X-GraphQL-Event-Stream-Token'

/**
 * Items that may wait for a client that does not read; beyond that its operations wait, as the subscriptions of a
 * socket do.
 */
const MAX_WAITING = 16

export interface SingleConnections {
  /**
   * Reserves a stream, which is dropped if its client does not connect soon.
   *
   * @returns the token that identifies the stream
   */
  reserve(caller: Caller): string
  /** @throws PresenceError `NOT_FOUND` if the user has no such stream on this node */
  find(caller: Caller, token: string): SingleConnection
}

export interface SingleConnection {
  readonly group: FeedGroup
  /** @throws PresenceError `BAD_REQUEST` if the stream is connected already */
  connect(connection: StreamConnection): ItemStream<OperationItem>
  /** The number of open operations. */
  operationCount(): number
  /**
   * Opens an operation.
   *
   * @throws PresenceError `BAD_USER_INPUT` if the id is not a text of a valid length, or is in use
   */
  begin(id: unknown): string
  /** Sends a result, or each result of a stream, and then `complete`. */
  answer(id: string, results: Results | ExecutionResult): void
  /** Ends an operation if it is open. */
  stop(id: string): void
}

export interface SingleConnectionsOptions {
  readonly streams: Streams
  /** The result to send for an error that no retry fixes; null for any other error. */
  readonly finalResult: (error: unknown) => ExecutionResult | null
}

export function createSingleConnections({ streams, finalResult }: SingleConnectionsOptions): SingleConnections {
  const byToken = new Map<string, { readonly userId: string; readonly connection: SingleConnection }>()

  return {
    reserve(caller) {
      const token = randomUUID()
      const connection = createConnection(caller, streams, finalResult, () => byToken.delete(token))
      byToken.set(token, { userId: caller.userId, connection })
      return token
    },

    find({ userId }, token) {
      const found = byToken.get(token)
      if (found?.userId === userId) return found.connection
      throw new PresenceError('NOT_FOUND', `There is no stream of that ${STREAM_TOKEN} here: reserve one by PUT.`)
    },
  }
}

function createConnection(
  caller: Caller,
  streams: Streams,
  finalResult: SingleConnectionsOptions['finalResult'],
  onEnd: () => void,
): SingleConnection {
  const group: FeedGroup = { subscriptions: new Set() }
  const operations = new Map<string, Results | null>()
  const mailbox = createMailbox<OperationItem>(() => {
    onEnd()
    for (const id of [...operations.keys()]) stop(id)
  })
  const gone = new AbortController()
  let isConnected = false
  let cut = (): void => {}
  const items = streams.add(caller, mailbox.items, { signal: gone.signal, cut: () => cut() })

  function stop(id: string): void {
    const results = operations.get(id)
    operations.delete(id)
    results?.return().catch(() => {})
  }

  async function passOn(id: string, results: Results): Promise<void> {
    try {
      for (;;) {
        await mailbox.untilRead()
        const { value, done } = await results.next()
        if (operations.get(id) !== results) return
        if (done) break
        mailbox.put({ id, payload: value })
      }
    } catch (error) {
      if (operations.get(id) !== results) return
      const result = finalResult(error)
      // Breaks the connection, so that the client reconnects with all of its operations.
      if (result === null) return mailbox.fail(error)
      mailbox.put({ id, payload: result })
    }
    operations.delete(id)
    mailbox.put({ id })
  }

  return {
    group,
    operationCount: () => operations.size,

    connect({ signal, cut: cutOff }) {
      if (isConnected) throw new PresenceError('BAD_REQUEST', 'This stream is connected already.')
      isConnected = true
      cut = cutOff
      signal.addEventListener('abort', () => gone.abort(), { once: true })
      if (signal.aborted) gone.abort()
      return items
    },

    begin(id) {
      if (typeof id !== 'string' || id === '' || id.length > MAX_ID_CHARACTERS) {
        throw badInput('extensions.operationId', `a text of 1 to ${MAX_ID_CHARACTERS} characters`)
      }
      if (operations.has(id)) throw badInput('extensions.operationId', 'that of no other open operation')
      operations.set(id, null)
      return id
    },

    answer(id, results) {
      // The client may have ended the operation or the whole stream by now.
      const isWanted = operations.has(id)
      if (Symbol.asyncIterator in results) {
        if (!isWanted) return void results.return().catch(() => {})
        operations.set(id, results)
        void passOn(id, results)
      } else if (isWanted) {
        mailbox.put({ id, payload: results })
        operations.delete(id)
        mailbox.put({ id })
      }
    },

    stop,
  }
}

/** An async iterator with a queue, into which the operations put their items. */
function createMailbox<Item>(onEnd: () => void) {
  const waiting: Item[] = []
  let failure: { readonly error: unknown } | null = null
  let isOver = false
  let wakeReader = (): void => {}
  const wakeWriters: (() => void)[] = []

  function end(): void {
    if (isOver) return
    isOver = true
    onEnd()
    wakeReader()
    for (const wake of wakeWriters.splice(0)) wake()
  }

  const items: ItemStream<Item> = {
    [Symbol.asyncIterator]: () => items,
    async next() {
      for (;;) {
        const item = waiting.shift()
        if (item !== undefined) {
          if (waiting.length < MAX_WAITING) for (const wake of wakeWriters.splice(0)) wake()
          return { value: item, done: false }
        }
        if (failure !== null) {
          const { error } = failure
          end()
          throw error
        }
        if (isOver) return { value: undefined, done: true }
        await new Promise<void>((resolve) => {
          wakeReader = resolve
        })
      }
    },
    async return() {
      waiting.length = 0
      end()
      return { value: undefined, done: true }
    },
    async throw(error) {
      end()
      throw error
    },
  }

  return {
    items,

    put(item: Item): void {
      if (isOver) return
      waiting.push(item)
      wakeReader()
    },

    fail(error: unknown): void {
      failure ??= { error }
      wakeReader()
    },

    /** Resolves when there is room for another item, or the stream has ended. */
    async untilRead(): Promise<void> {
      while (!isOver && waiting.length >= MAX_WAITING) await new Promise<void>((resolve) => wakeWriters.push(resolve))
    },
  }
}
