/** Typed operations over one graphql-ws client: `ask` for one answer, `follow` for a stream. */
import type { TypedDocumentNode } from '@graphql-typed-document-node/core'
import type { DocumentNode } from 'graphql'
import { print } from 'graphql/language/printer.js'
import type { Client } from 'graphql-ws'

export type SocketClient = Pick<Client, 'subscribe' | 'on' | 'terminate'>

/** What an operation failed with. A class, because those who retry ask `instanceof`. */
export class RequestError extends Error {
  override readonly name = 'RequestError'
  /** `extensions.code` of the server's error; `CLOSED` where the connection is over for good. */
  readonly code: string

  constructor(code: string, message: string) {
    super(message)
    this.code = code
  }
}

export interface Reader<Data> {
  next(data: Data): void
  /** Nothing comes after it. */
  error(error: RequestError): void
  /** The server ended the stream. */
  complete?(): void
}

/**
 * Follows a stream until the returned function is called.
 *
 * @param variables - handed to graphql-ws as they are: it reads them again, getters too, whenever it reconnects
 */
export function follow<Data, Variables extends Record<string, unknown>>(
  client: SocketClient,
  document: TypedDocumentNode<Data, Variables>,
  variables: Variables,
  reader: Reader<Data>,
): () => void {
  let isOver = false

  function end(tell: () => void): void {
    if (isOver) return
    isOver = true
    stop()
    tell()
  }

  const stop = client.subscribe<Data>(
    { query: print(document), variables },
    {
      next({ data, errors }) {
        if (isOver) return
        if (errors !== undefined && errors.length > 0) end(() => reader.error(requestError(errors)))
        else if (data) reader.next(data)
      },
      error: (error) => end(() => reader.error(requestError(error))),
      complete: () => end(() => reader.complete?.()),
    },
  )

  return () => end(() => {})
}

/**
 * @throws RequestError, also where the signal is aborted before the answer. A mutation fails with `CLOSED` where its
 *   connection ends before the answer: graphql-ws would send it again with the next one, and a `goOffline` of an hour
 *   ago would take the person from the page that they look at
 */
export function ask<Data, Variables extends Record<string, unknown>>(
  client: SocketClient,
  document: TypedDocumentNode<Data, Variables>,
  variables: Variables,
  signal?: AbortSignal,
): Promise<Data> {
  let stopListening = (): void => {}
  const answer = new Promise<Data>((resolve, reject) => {
    function fail(reason: string): void {
      stop()
      reject(new RequestError('CLOSED', reason))
    }
    const stop = follow(client, document, variables, {
      next: resolve,
      error: reject,
      complete: () => fail('The connection was closed before the answer came.'),
    })
    if (isMutation(document)) {
      stopListening = client.on('closed', () => fail('The connection was lost before the answer came.'))
    }
    signal?.addEventListener('abort', () => fail('Nobody waits for the answer any more.'))
  })
  return answer.finally(stopListening)
}

function isMutation(document: DocumentNode): boolean {
  return document.definitions.some((part) => part.kind === 'OperationDefinition' && part.operation === 'mutation')
}

/** @param cause - GraphQL errors, a close event, or whatever else graphql-ws failed with */
function requestError(cause: unknown): RequestError {
  if (Array.isArray(cause)) {
    const [first] = cause as { readonly message?: unknown; readonly extensions?: { readonly code?: unknown } }[]
    return new RequestError(
      String(first?.extensions?.code ?? 'INTERNAL'),
      String(first?.message ?? 'No reason was told.'),
    )
  }
  return new RequestError('CLOSED', closeReason(cause) ?? 'The connection failed.')
}

/** Why a socket closed: in the server's words where it said any. */
export function closeReason(event: unknown): string | null {
  if (typeof event !== 'object' || event === null || !('reason' in event)) return null
  return typeof event.reason === 'string' && event.reason !== '' ? event.reason : null
}
