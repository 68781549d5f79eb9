import fc from 'fast-check'
import {
  buildSchema,
  type ExecutionArgs,
  type ExecutionResult,
  type GraphQLObjectType,
  type GraphQLSchema,
  parse,
  subscribe as plainSubscribe,
  validate,
} from 'graphql'
import { MessageType, stringifyMessage } from 'graphql-ws'
import { describe, expect, it } from 'vitest'
import { latin1 } from '../../src/execution/json.ts'
import { createKeptTexts } from '../../src/execution/kept-texts.ts'
import { createSelections } from '../../src/execution/selections.ts'
import { createShareability } from '../../src/execution/shareable.ts'
import type { ChangeEvent, ChangeOutlet, ChangeStream, PayloadOutlet } from '../../src/presence/feed.ts'
import { schema } from '../../src/schema/index.ts'
import { payloadText } from '../../src/server/messages.ts'
import { selectionsOf, user } from './random-documents.ts'

/** Hands these events over, to whoever reads and to whoever they flow into. */
function streamOf<Event extends object>(events: Iterable<Event>): ChangeStream {
  async function* read() {
    yield* events as unknown as ChangeEvent[]
  }
  const reading = read()
  return Object.assign(reading, {
    async flowInto(outlet: ChangeOutlet) {
      for (const event of events) outlet.write(event as unknown as ChangeEvent)
    },
  }) as unknown as ChangeStream
}

/** The event, and then an error. */
function* failingAfter<Event>(event: Event): Iterable<Event> {
  yield event
  throw new Error('The log is lost.')
}

/** What graphql-ws would send for these results, as bytes. */
function messagesOf(id: string, results: readonly ExecutionResult[]): string[] {
  return results.map(({ errors, ...rest }) =>
    Buffer.from(
      stringifyMessage({
        id,
        type: MessageType.Next,
        payload: { ...rest, ...(errors ? { errors: errors.map((error) => error.toJSON()) } : {}) },
      }),
    ).toString('latin1'),
  )
}

/** What a socket is sent. */
function collecting(id: string): { readonly outlet: PayloadOutlet; readonly messages: string[] } {
  const messages: string[] = []
  const head = latin1(`{"id":${JSON.stringify(id)},"type":"next","payload":`)
  return {
    messages,
    outlet: { isFull: () => false, onceDrained() {}, write: (payload) => void messages.push(head + payload) },
  }
}

async function readAll(results: AsyncIterable<ExecutionResult> | ExecutionResult): Promise<ExecutionResult[]> {
  if (!(Symbol.asyncIterator in results)) throw new Error(JSON.stringify(results))
  const all: ExecutionResult[] = []
  for await (const result of results) all.push(result)
  return all
}

const variables = fc.record(
  { yes: fc.boolean(), other: fc.option(fc.boolean()), ids: fc.constant(['a']), after: fc.constant(null) },
  { requiredKeys: ['yes'] },
)
const operation = fc.record({
  rootAlias: fc.constantFrom('', 'changes: '),
  args: fc.constantFrom('', '(room: "hall")', '(userIds: $ids)', '(after: $after)'),
  selections: selectionsOf('PresenceChange', 2),
  others: selectionsOf('PresenceChange', 1),
  userParts: fc.constantFrom('name', 'id status', 'lastActive @skip(if: $other)'),
})

function documentOf({ rootAlias, args, selections, others, userParts }: OperationWords): string {
  const declared = '($yes: Boolean!, $other: Boolean = true, $ids: [ID!], $after: String)'
  return `
    query Unused { position }
    subscription Watch${declared} { ${rootAlias}presenceChanged${args} { ${selections} } }
    subscription Other${declared} { presenceChanged { ${others} } }
    fragment PresenceChangeParts on PresenceChange { kind user { ...UserParts } }
    fragment UserParts on User { ${userParts} }
  `
}

interface OperationWords {
  readonly rootAlias: string
  readonly args: string
  readonly selections: string
  readonly others: string
  readonly userParts: string
}

const event = fc.record({
  change: fc.record({
    kind: fc.constantFrom('JOIN', 'UPDATE', 'LEAVE'),
    user,
    previousStatus: fc.constantFrom('ONLINE', 'OFFLINE'),
    room: fc.option(fc.string({ unit: 'grapheme' })),
    seq: fc.nat(),
    // What cannot be written as a moment is an error in the answer.
    atMs: fc.oneof({ weight: 9, arbitrary: fc.nat() }, { weight: 1, arbitrary: fc.constant(Number.NaN) }),
  }),
  position: fc.record({ epoch: fc.constant('0123456789abcdef'), seq: fc.nat() }),
})

describe('a subscription that is shared', () => {
  it('is sent byte for byte what graphql-js and graphql-ws would send it alone', async () => {
    const share = createSelections({
      execute: createKeptTexts(schema),
      isShareable: createShareability(schema),
      write: payloadText,
    })
    let comparedCount = 0
    await fc.assert(
      fc.asyncProperty(
        operation,
        fc.array(event, { minLength: 1, maxLength: 3 }),
        fc.string({ unit: 'grapheme', minLength: 1 }),
        fc.array(fc.tuple(fc.constantFrom('Watch', 'Other'), variables), { minLength: 2, maxLength: 4 }),
        async (words, events, id, subscribers) => {
          const document = parse(documentOf(words))
          // Two aliases of the same name for different fields cannot be merged; what is declared may go unused.
          fc.pre(validate(schema, document).every(({ message }) => /never used/.test(message)))
          for (const [operationName, variableValues] of subscribers) {
            const args: ExecutionArgs = {
              schema,
              document,
              operationName,
              variableValues,
              contextValue: { caller: CALLER, feed: { changes: async () => streamOf(events) } },
            }
            const alone = await readAll(await plainSubscribe(args))
            const { outlet, messages } = collecting(id)
            expect(await readAll(await share(args, outlet))).toEqual([])
            expect(messages).toEqual(messagesOf(id, alone))
            expect(JSON.stringify(await readAll(await share(args, null)))).toBe(JSON.stringify(alone))
            comparedCount += messages.length
          }
        },
      ),
      { numRuns: 1000 },
    )
    expect(comparedCount).toBeGreaterThan(1000)
  }, 120_000)
})

const CALLER = { userId: 'alice', profile: null, rooms: ['**'], everyone: true, role: 'member', expiresAtMs: null }

/** A schema of the same kind with fields that look at who asks. */
function personalSchema({ forgets = false } = {}): { readonly own: GraphQLSchema; readonly executions: () => number } {
  const own = buildSchema(`
    directive @loud on FIELD
    directive @stamped on SUBSCRIPTION
    type Query { nothing: String }
    type Subscription { happened: Thing!  mine: Own! }
    type Thing { name: String  later: String  isMine: Boolean  owner: Own }
    type Own { secret: String }
  `)
  let count = 0
  const thing = own.getType('Thing') as GraphQLObjectType
  Object.assign(thing, { extensions: { isSameForAll: true } })
  const { name, later, isMine, owner } = thing.getFields()
  Object.assign(name as object, {
    resolve(source: { name: string }) {
      count += 1
      return source.name
    },
  })
  Object.assign(later as object, { resolve: async () => 'later' })
  Object.assign(isMine as object, {
    resolve: (source: { owner: string }, _args: unknown, context: { me: string }) => source.owner === context.me,
    extensions: forgets ? {} : { needsCaller: true },
  })
  Object.assign(owner as object, {
    resolve: (_source: unknown, _args: unknown, context: { me: string }) => ({ secret: `of ${context.me}` }),
    extensions: { needsCaller: true },
  })
  for (const field of Object.values(own.getSubscriptionType()?.getFields() ?? {})) {
    Object.assign(field, {
      subscribe: (_root: unknown, _args: unknown, context: { events: Iterable<object> }) => streamOf(context.events),
      resolve: (source: unknown) => source,
    })
  }
  return { own, executions: () => count }
}

async function wordsOf(own: GraphQLSchema, query: string, { asReader = false } = {}) {
  const share = createSelections({
    execute: createKeptTexts(own),
    isShareable: createShareability(own),
    write: payloadText,
  })
  const document = parse(query)
  const events = [{ name: 'a', owner: 'alice', secret: 'one' }]
  const subscribers = await Promise.all(
    ['alice', 'bob'].map(async (me) => {
      const { outlet, messages } = collecting('1')
      const args = { schema: own, document, contextValue: { me, events } }
      return { me, messages, results: await share(args, asReader ? null : outlet) }
    }),
  )
  const told: Record<string, unknown> = {}
  let sharedCount = 0
  for (const { me, messages, results } of subscribers) {
    const read = await readAll(results)
    sharedCount += messages.length
    told[me] = [...messages.map((message) => JSON.parse(message).payload), ...read]
  }
  return { told: JSON.parse(JSON.stringify(told)), sharedCount }
}

describe('a subscription that is personal', () => {
  it('is executed once for all where nothing of it looks at who asks', async () => {
    const { own, executions } = personalSchema()
    const { told, sharedCount } = await wordsOf(own, 'subscription { happened { name } }')
    const data = { happened: { name: 'a' } }
    expect(told).toEqual({ alice: [{ data }], bob: [{ data }] })
    expect([sharedCount, executions()]).toEqual([2, 1])
  })

  it.each([
    'subscription { happened { name isMine } }',
    'subscription { happened { ...Parts } } fragment Parts on Thing { ... { mine: isMine } }',
    'subscription { happened { owner { secret } } }',
    'subscription { mine { secret } }',
    'subscription { happened { name @loud } }',
    'subscription @stamped { happened { name } }',
  ])('is executed for each alone: %s', async (query) => {
    const { own } = personalSchema()
    for (const asReader of [false, true]) {
      const { told, sharedCount } = await wordsOf(own, query, { asReader })
      expect(sharedCount).toBe(0)
      for (const me of ['alice', 'bob']) {
        const events = [{ name: 'a', owner: 'alice', secret: 'one' }]
        const plain = await readAll(
          await plainSubscribe({ schema: own, document: parse(query), contextValue: { me, events } }),
        )
        expect(told[me]).toEqual(JSON.parse(JSON.stringify(plain)))
      }
    }
  })

  it('fails rather than tell one what is another’s, where a field forgot to say that it looks at who asks', async () => {
    const { own } = personalSchema({ forgets: true })
    const { told } = await wordsOf(own, 'subscription { happened { isMine } }')
    for (const me of ['alice', 'bob']) {
      expect(told[me]).toMatchObject([
        { data: { happened: { isMine: null } }, errors: [{ path: ['happened', 'isMine'] }] },
      ])
    }
  })

  it.each(['its stream ends', 'its stream fails', 'its reader leaves'])(
    'keeps nothing of a selection that nobody follows any more: %s',
    async (end) => {
      const { own, executions } = personalSchema()
      const share = createSelections({
        execute: createKeptTexts(own),
        isShareable: createShareability(own),
        write: payloadText,
      })
      const document = parse('subscription { happened { name } }')
      const event = { name: 'a' }
      for (const count of [1, 2]) {
        const contextValue = { events: end === 'its stream fails' ? failingAfter(event) : [event, event] }
        const results = await share({ schema: own, document, contextValue }, null)
        if (!(Symbol.asyncIterator in results)) throw new Error('It did not begin.')
        await results.next()
        if (end === 'its reader leaves') await results.return()
        else if (end === 'its stream fails') await expect(results.next()).rejects.toThrow('lost')
        else await readAll(results)
        // The second time the same event is executed anew.
        expect(executions()).toBe(count)
      }
    },
  )

  it('fails where a field that is shared answers later', async () => {
    const { own } = personalSchema()
    await expect(wordsOf(own, 'subscription { happened { later } }')).rejects.toThrow('at once')
  })
})

describe('what is the same for all', () => {
  it('refuses a schema in which it has a field of a type that is not', () => {
    const { own } = personalSchema()
    const { owner } = (own.getType('Thing') as GraphQLObjectType).getFields()
    Object.assign(owner as object, { extensions: {} })
    expect(() => createShareability(own)).toThrow('Thing is the same for all, and Thing.owner is a Own, which is not.')
  })

  it('is a change, a user and a count, and nothing of the viewer', () => {
    const isShareable = createShareability(schema)
    const answers = Object.fromEntries(
      [
        'subscription { presenceChanged { kind user { id name } } }',
        'subscription { onlineCountChanged { count } }',
        'subscription { viewerChanged { id user { name } } }',
        'subscription { positionAdvanced }',
        'query { onlineCount }',
      ].map((query) => [query, isShareable({ document: parse(query) })]),
    )
    expect(Object.values(answers)).toEqual([true, true, false, false, false])
  })
})
