/**
 * The results of subscriptions as the body of an HTTP answer: server-sent events, or the parts of Apollo's multipart
 * protocol. Changes in server-sent events have their position as `id`, which `EventSource` sends back.
 *
 * https://html.spec.whatwg.org/multipage/server-sent-events.html
 * https://www.apollographql.com/docs/graphos/routing/operations/subscriptions/multipart-protocol
 */
import { type ExecutionResult, GraphQLError } from 'graphql'
import { formatPosition, type Position } from '../presence/position.ts'
import type { ItemStream } from './streams.ts'

/** Proxies end an answer in which nothing came for a while: nginx after 60 s, some after 30 s. */
const IDLE_MS = 12_000

/** How the items of a stream are written. */
export interface StreamForm<Item = ExecutionResult> {
  readonly contentType: string
  readonly first: string
  item(item: Item, position: Position | null): string
  /**
   * A sign of life.
   *
   * @param reached - everything up to this position has been written before; null if the stream has no changes
   */
  idle(reached: Position | null): string
  /** The stream is over, and its client shall not come back for more of it. */
  end(errors: readonly GraphQLError[] | null): string
}

export const SERVER_SENT_EVENTS: StreamForm = {
  contentType: 'text/event-stream',
  // Some browsers wait for the first bytes of a body before they hand over the answer.
  first: ':\n\n',
  item: (result, position) => event('next', JSON.stringify(result), position),
  // An event without data only sets the last id.
  idle: (reached) => (reached === null ? ':\n\n' : `id: ${formatPosition(reached)}\n\n`),
  end: (errors) =>
    `${errors === null ? '' : event('next', JSON.stringify({ errors }), null)}event: complete\ndata:\n\n`,
}

function event(name: string, data: string, position: Position | null): string {
  return `event: ${name}\n${position === null ? '' : `id: ${formatPosition(position)}\n`}data: ${data}\n\n`
}

const BOUNDARY = 'graphql'

/** Each part is followed by its boundary: clients read a part when the boundary after it has come. */
export const MULTIPART_SUBSCRIPTION: StreamForm = {
  contentType: `multipart/mixed;boundary="${BOUNDARY}";subscriptionSpec="1.0"`,
  first: `--${BOUNDARY}`,
  item: (result) => part({ payload: result }),
  idle: () => part({}),
  end: (errors) => `${errors === null ? '' : part({ payload: null, errors })}--\r\n`,
}

function part(content: object): string {
  return `\r\ncontent-type: application/json\r\n\r\n${JSON.stringify(content)}\r\n--${BOUNDARY}`
}

/** The one stream of a client that asks for many: each item names the operation that it belongs to. */
export const SINGLE_CONNECTION: StreamForm<OperationItem> = {
  ...SERVER_SENT_EVENTS,
  item: (item) => event('payload' in item ? 'next' : 'complete', JSON.stringify(item), null),
}

/** A result of one operation; without a payload, its end. */
export interface OperationItem {
  readonly id: string
  readonly payload?: ExecutionResult
}

export interface EventStreamOptions<Item> {
  readonly form: StreamForm<Item>
  /** Where an item stands in the change log; null if it is no change. */
  readonly positionOf: (item: Item) => Position | null
  /** The position up to which all of its changes have been written; null if it has none, or if that is not known. */
  readonly reached: () => Position | null
  /** Whether the client has to be told of an error, because no retry mends it. */
  readonly isFinal: (error: GraphQLError) => boolean
}

/** @returns a body that reads the items as fast as its client reads it */
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
        // A client that does not read needs no sign of life.
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
        // The connection breaks, and the client comes back.
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
