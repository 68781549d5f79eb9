/** The most frequent messages, read and written past graphql-ws in the same form. */
import type { ExecutionResult, GraphQLError } from 'graphql'
import type { RawData } from 'ws'
import { stringify } from '../execution/json.ts'
import { hasText } from '../execution/kept-texts.ts'
import type { PayloadOutlet } from '../presence/feed.ts'
import { latin1, type Outbox } from './outbox.ts'

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
  const last = result.errors === undefined ? result : errorsLast(result)
  return latin1(`${hasText(result) ? stringify(last) : JSON.stringify(last)}}`)
}

function errorsLast({ errors, ...rest }: ExecutionResult): object {
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
