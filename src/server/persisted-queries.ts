/**
 * Automatic persisted queries, the protocol of Apollo's and urql's links: a client sends the SHA-256 of a document
 * instead of its text, and adds the text if the server answers that the hash is unknown.
 *
 * https://www.apollographql.com/docs/apollo-server/performance/apq
 */
import { createHash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { badInput, PresenceError } from '../presence/errors.ts'
import { isObject, type Params } from './params.ts'

/** An app has a few dozen documents. Clients send an evicted one again. */
const MAX_DOCUMENTS = 1000
const MAX_CHARACTERS = 1024 * 1024
const VERSION = 1
const HASH = /^[\da-f]{64}$/i

export interface PersistedQueries {
  /**
   * @returns the parameters with the text of the document that the hash names
   * @throws PresenceError `PERSISTED_QUERY_NOT_FOUND` if the text is unknown; `BAD_USER_INPUT` if the hash is malformed
   *   or is not that of the text beside it
   */
  resolve(params: Params): Params
  /** Stores the text of a valid document under the hash sent with it, if any. */
  keep(params: Params): void
}

export function createPersistedQueries(): PersistedQueries {
  const texts = new LRUCache<string, string>({
    max: MAX_DOCUMENTS,
    maxSize: MAX_CHARACTERS,
    sizeCalculation: (text) => text.length + 1,
  })

  return {
    resolve(params) {
      const hash = hashOf(params)
      if (hash === null) return params
      const { query } = params
      if (typeof query === 'string' && query !== '') {
        if (createHash('sha256').update(query).digest('hex') === hash) return params
        throw badInput('extensions.persistedQuery.sha256Hash', 'the SHA-256 of `query`')
      }
      const text = texts.get(hash)
      // Both links recognise this message, but not every client recognises the code.
      if (text === undefined) throw new PresenceError('PERSISTED_QUERY_NOT_FOUND', 'PersistedQueryNotFound')
      return { ...params, query: text }
    },

    keep(params) {
      const hash = hashOf(params)
      if (hash !== null && !texts.has(hash)) texts.set(hash, String(params.query))
    },
  }
}

/** @returns the hash in lower case; null if the parameters contain none */
function hashOf({ extensions }: Params): string | null {
  const { persistedQuery } = isObject(extensions) ? extensions : {}
  if (persistedQuery === undefined || persistedQuery === null) return null
  const name = 'extensions.persistedQuery'
  if (!isObject(persistedQuery)) throw badInput(name, 'an object')
  const { version, sha256Hash } = persistedQuery
  if (version !== VERSION) throw badInput(`${name}.version`, String(VERSION))
  if (typeof sha256Hash !== 'string' || !HASH.test(sha256Hash))
    throw badInput(`${name}.sha256Hash`, '64 hexadecimal digits')
  return sha256Hash.toLowerCase()
}
