/** The schema builder: what every type and field is declared on. */
import SchemaBuilder from '@pothos/core'
import ComplexityPlugin from '@pothos/plugin-complexity'
import type { RequestContext } from '../resolvers/context.ts'
import { HISTORY_UNITS } from '../resolvers/history.ts'

export const builder = new SchemaBuilder<{
  Context: RequestContext
  Scalars: {
    ID: { Input: string; Output: string }
    /** An argument stays the text that it is, so that its error can name it; an answer is epoch milliseconds. */
    DateTime: { Input: string; Output: number }
  }
}>({
  plugins: [ComplexityPlugin],
  // The cost is refused at validation, for subscriptions too: src/execution/operations.ts.
  complexity: { defaultComplexity: 1, defaultListMultiplier: 10, disabled: true },
})

/**
 * What a field costs beside one for itself and its selection, in units of about a microsecond: they
 * bound a document (MAX_COMPLEXITY) and are taken from who asks (src/server/limits/limits.ts).
 */
export const COST = {
  /** A statement to Postgres, a record of it, and the change for all who follow the user. */
  settingsWrite: 2000,
  /** An entry of the change log, a record, and the change for all who follow the user. */
  change: 500,
  history: HISTORY_UNITS,
  /** A subscription, whatever comes of it. */
  subscription: 100,
  /** A room in which a session is put. */
  room: 10,
  /** The rooms of a session: up to 100 texts of 128 bytes. */
  rooms: 20,
  /** A picture's address: up to 2,048 characters. */
  picture: 2,
  /** Sessions that a user may have, by default. */
  sessions: 50,
} as const

builder.queryType({ description: 'Who is online, and what everyone may see of them.' })
builder.mutationType({ description: "What changes the signed-in user's own presence, and what services may change." })
builder.subscriptionType({ description: 'What happens from now on, or from a position on.' })

builder.scalarType('DateTime', {
  description: 'A moment as RFC 3339 writes it: `2026-01-31T09:30:00.000Z`. Answers are in UTC, with milliseconds.',
  serialize: (epochMs) => new Date(epochMs).toISOString(),
  parseValue(value) {
    if (typeof value !== 'string') throw new TypeError('A DateTime must be a text.')
    return value
  },
})

/**
 * For a type whose fields are the same for every caller, and at hand: a subscription to it is executed once for all
 * (src/execution/shareable.ts). A field of such a type that looks at its context says `extensions: { needsCaller: true }`.
 */
export const SAME_FOR_ALL = { isSameForAll: true } as const

/**
 * Also for a type whose objects never change, so that a changed one is another object: the JSON of a selection is made
 * once for an object (src/execution/kept-texts.ts).
 */
export const IMMUTABLE = { ...SAME_FOR_ALL, isImmutable: true } as const
