/** The most frequent messages, read and written past graphql-ws in the same form. */
import type { ExecutionResult, GraphQLError } from 'graphql'
import type { RawData } from 'ws'
import { type Bytes, jsonBytes, latin1 } from '../execution/json.ts'
import { hasText } from '../execution/kept-texts.ts'
import type { PayloadOutlet } from '../presence/feed.ts'
import type { Outbox } from './outbox.ts'

/** Writes the messages of one operation. */
export class OperationMessages implements PayloadOutlet {
  readonly #outbox: Outbox
  /** As JSON text in Latin-1, the form that the outbox takes. */
  readonly #id: string
  readonly #nextHead: string

  constructor(outbox: Outbox, id: string) {
    this.#outbox = outbox
    this.#id = latin1(JSON.stringify(id))
    this.#nextHead = `{"id":${this.#id},"type":"next","payload":`
  }

  isFull(): boolean {
    return this.#outbox.isFull()
  }

  write(payload: string): void {
    this.#outbox.send(this.#nextHead + payload)
  }

  onceDrained(resume: () => void): void {
    this.#outbox.onceDrained(resume)
  }

  /** The result of an operation that has only one, and its end. */
  answer(result: ExecutionResult): void {
    const payload = hasText(result) ? payloadBytes(result) : [payloadText(result)]
    const [first] = payload
    if (payload.length === 1 && typeof first === 'string') this.write(first)
    else this.#outbox.sendBytes([this.#nextHead, ...payload])
    this.complete()
  }

  complete(): void {
    this.#outbox.send(`{"id":${this.#id},"type":"complete"}`)
  }

  /** The operation failed before its first result. Nothing follows. */
  fail(errors: readonly GraphQLError[]): void {
    this.#outbox.send(`{"id":${this.#id},"type":"error","payload":${latin1(JSON.stringify(errors))}}`)
  }
}

/** The form of a result that `PayloadOutlet` takes: the rest of a message, with the errors last as in graphql-ws. */
export function payloadText(result: ExecutionResult): string {
  return hasText(result) ? textOf(payloadBytes(result)) : latin1(`${JSON.stringify(errorsLast(result))}}`)
}

/** The bytes of the same form. */
function payloadBytes(result: ExecutionResult): Bytes[] {
  const bytes = jsonBytes(errorsLast(result))
  // The last part is a text.
  bytes.push(`${bytes.pop()}}`)
  return bytes
}

function textOf(bytes: readonly Bytes[]): string {
  return bytes.map((part) => (typeof part === 'string' ? part : part.toString('latin1'))).join('')
}

function errorsLast(result: ExecutionResult): object {
  if (result.errors === undefined) return result
  const { errors, ...rest } = result
  return { ...rest, errors }
}

/**
 * Parses a message here: graphql-ws would keep its text for the life of the subscription that it begins.
 *
 * @param isBinary - what some clients send: then nothing has checked yet that it is UTF-8
 * @returns null if it is no JSON object
 */
export function parsed(data: RawData, isBinary: boolean): object | null {
  try {
    const message: unknown = JSON.parse(isBinary ? utf8.decode(data as Buffer) : String(data))
    return typeof message === 'object' ? message : null
  } catch {
    return null
  }
}

const utf8 = new TextDecoder('utf-8', { fatal: true })
