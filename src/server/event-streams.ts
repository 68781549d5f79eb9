/**
 * Writes the results of subscriptions as the body of an HTTP response: as server-sent events, or as the parts of
 * Apollo's multipart protocol. In server-sent events, a change has its position as `id`, which `EventSource` sends back
 * when it reconnects.
 *
 * https://html.spec.whatwg.org/multipage/server-sent-events.html
 * https://www.apollographql.com/docs/graphos/routing/operations/subscriptions/multipart-protocol
 */
import { type ExecutionResult, GraphQLError } from 'graphql'
import { stringify } from '../execution/json.ts'
import { formatPosition, type Position } from '../presence/position.ts'
import type { ItemStream } from './streams.ts'

/** Proxies end a response that sends nothing for a while: nginx after 60 s, some after 30 s. */
const IDLE_MS = 12_000

/** The format of a stream. */
export interface StreamForm<Item = ExecutionResult> {
  readonly contentType: string
  readonly first: string
  item(item: Item, position: Position | null): string
  /**
   * A keep-alive.
   *
   * @param reached - all changes up to this position have been written; null if the stream has no changes
   */
  idle(reached: Position | null): string
  /** Ends the stream, so that its client does not reconnect. */
  end(errors: readonly GraphQLError[] | null): string
}

export const SERVER_SENT_EVENTS: StreamForm = {
  contentType: 'text/event-stream',
  // Some browsers deliver a response only after the first bytes of its body.
  first: ':\n\n',
  item: (result, position) => event('next', stringify(result), position),
  // An event without data only sets the last event id.
  idle: (reached) => (reached === null ? ':\n\n' : `id: ${formatPosition(reached)}\n\n`),
  end: (errors) =>
    `${errors === null ? '' : event('next', JSON.stringify({ errors }), null)}event: complete\ndata:\n\n`,
}

function event(name: string, data: string, position: Position | null): string {
  return `event: ${name}\n${position === null ? '' : `id: ${formatPosition(position)}\n`}data: ${data}\n\n`
}

const BOUNDARY = 'graphql'

/** The boundary follows each part directly: clients parse a part when they receive the boundary after it. */
export const MULTIPART_SUBSCRIPTION: StreamForm = {
  contentType: `multipart/mixed;boundary="${BOUNDARY}";subscriptionSpec="1.0"`,
  first: `--${BOUNDARY}`,
  item: (result) => part({ payload: result }),
  idle: () => part({}),
  end: (errors) => `${errors === null ? '' : part({ payload: null, errors })}--\r\n`,
}

function part(content: object): string {
  return `\r\ncontent-type: application/json\r\n\r\n${stringify(content)}\r\n--${BOUNDARY}`
}

/** The one stream of a client with many operations: each item names its operation. */
export const SINGLE_CONNECTION: StreamForm<OperationItem> = {
  ...SERVER_SENT_EVENTS,
  item: (item) => event('payload' in item ? 'next' : 'complete', stringify(item), null),
}

/** A result of one operation; without `payload`, the operation's end. */
export interface OperationItem {
  readonly id: string
  readonly payload?: ExecutionResult
}

export interface EventStreamOptions<Item> {
  readonly form: StreamForm<Item>
  /** The item's position in the change log; null if it is no change. */
  readonly positionOf: (item: Item) => Position | null
  /** The position up to which all changes have been written; null if the stream has none, or if it is unknown. */
  readonly reached: () => Position | null
  /** Whether no retry fixes the error, so that the client must get it. */
  readonly isFinal: (error: GraphQLError) => boolean
}

/** @returns a body that reads the items as fast as the client reads the body */
export function eventStream<Item>(
  items: ItemStream<Item>,
  options: EventStreamOptions<Item>,
): ReadableStream<Uint8Array> {
  const { form, positionOf, reached, isFinal } = options
  const encoder = new TextEncoder()
  let timer: NodeJS.Timeout | undefined

  return new ReadableStream<Uint8Array>({
    start(controller) {
      controller.enqueue(encoder.encode(form.first + form.idle(reached())))
      timer = setInterval(() => {
        // A client that does not read needs no keep-alive.
        if ((controller.desiredSize ?? 0) > 0) controller.enqueue(encoder.encode(form.idle(reached())))
      }, IDLE_MS)
    },

    async pull(controller) {
      try {
        const { value, done } = await items.next()
        if (!done) return controller.enqueue(encoder.encode(form.item(value, positionOf(value))))
        controller.enqueue(encoder.encode(form.end(null)))
      } catch (error) {
        clearInterval(timer)
        // Breaks the connection, so that the client reconnects.
        if (!(error instanceof GraphQLError && isFinal(error))) return controller.error(error)
        controller.enqueue(encoder.encode(form.end([error])))
      }
      clearInterval(timer)
      controller.close()
    },

    async cancel() {
      clearInterval(timer)
      await items.return()
    },
  })
}
