import fc from 'fast-check'
import { buildSchema, type ExecutionArgs, execute, type GraphQLObjectType, parse, validate } from 'graphql'
import { describe, expect, it } from 'vitest'
import { stringify } from '../../src/execution/json.ts'
import { createKeptTexts, hasText } from '../../src/execution/kept-texts.ts'
import type { PublicUser } from '../../src/presence/model.ts'
import { schema } from '../../src/schema/index.ts'
import { condition, selectionsOf, user } from './random-documents.ts'

const CALLER = { userId: 'alice', profile: null, rooms: ['**'], everyone: true, role: 'member', expiresAtMs: null }
const POSITION = { epoch: '0123456789abcdef', seq: 7 }

/** What the resolvers ask, answered with these users. */
function contextOf(users: readonly PublicUser[]) {
  const page = { users, hasMore: users.length > 1, totalCount: users.length, position: POSITION }
  return {
    caller: CALLER,
    presence: {
      page: async (_caller: unknown, room: string | null) => {
        if (room === 'closed') throw new Error('This room is closed.')
        return page
      },
      users: async (_caller: unknown, ids: readonly string[]) => ids.map((id) => users[Number(id)] ?? null),
      user: async (_caller: unknown, id: string) => users[Number(id)] ?? null,
    },
    position: async () => POSITION,
  }
}

const variables = fc.record({ yes: fc.boolean(), other: fc.option(fc.boolean()) }, { requiredKeys: ['yes'] })

const rootField = fc.oneof(
  fc
    .tuple(fc.constantFrom('', 'page: '), fc.constantFrom('', '(first: 3)', '(room: "closed")'), condition)
    .chain(([alias, args, word]) =>
      selectionsOf('OnlineUsersConnection', 2).map(
        (selections) => `${alias}onlineUsers${args} ${word} { ${selections} }`,
      ),
    ),
  selectionsOf('User', 1).map((selections) => `users(ids: ["0", "1", "none", "0"]) { ${selections} }`),
  selectionsOf('User', 1).map((selections) => `user(id: "0") { ${selections} }`),
  selectionsOf('User', 1).map((selections) => `nobody: user(id: "none") { ${selections} }`),
  selectionsOf('User', 1).map((selections) => `node(id: "0") { __typename ... on User { ${selections} } }`),
  fc.constant('position'),
)
const documents = fc
  .record({
    fields: fc.array(rootField, { minLength: 1, maxLength: 3 }),
    connection: selectionsOf('User', 0),
    userParts: fc.constantFrom('name', 'id status', '... on Node { id }', 'lastActive @skip(if: $other)'),
  })
  .map(
    ({ fields, connection, userParts }) => `
      query Asked($yes: Boolean!, $other: Boolean = true) { ${fields.join('\n')} }
      query Other($yes: Boolean!, $other: Boolean = true) { users(ids: ["1"]) { ...UserParts } }
      fragment OnlineUsersConnectionParts on OnlineUsersConnection { nodes { ${connection} } edges { ...OnlineUsersEdgeParts } }
      fragment OnlineUsersEdgeParts on OnlineUsersEdge { node { ...UserParts } cursor }
      fragment PageInfoParts on PageInfo { hasNextPage }
      fragment UserParts on User { ${userParts} }
    `,
  )

describe('a query that is put together from texts', () => {
  it('is answered byte for byte as graphql-js answers it', async () => {
    const executeKept = createKeptTexts(schema)
    let [comparedCount, keptCount] = [0, 0]
    await fc.assert(
      fc.asyncProperty(
        documents,
        fc.array(user, { maxLength: 4 }),
        fc.array(fc.tuple(fc.constantFrom('Asked', 'Other'), variables), { minLength: 1, maxLength: 3 }),
        async (text, users, asked) => {
          const document = parse(text)
          // Two aliases of the same name for different fields cannot be merged; what is declared may go unused.
          fc.pre(validate(schema, document).every(({ message }) => /never used/.test(message)))
          for (const [operationName, variableValues] of asked) {
            const args: ExecutionArgs = {
              schema,
              document,
              operationName,
              variableValues,
              contextValue: contextOf(users),
            }
            const plain = JSON.stringify(await execute(args))
            const kept = await executeKept(args)
            expect(stringify(kept)).toBe(plain)
            // For those who know nothing of texts.
            expect(JSON.stringify(kept)).toBe(plain)
            comparedCount += 1
            if (hasText(kept)) keptCount += 1
          }
        },
      ),
      { numRuns: 2000 },
    )
    expect(comparedCount).toBeGreaterThan(1500)
    expect(keptCount).toBeGreaterThan(1000)
  }, 120_000)
})

/** A schema of the same kind that counts what it executes. */
function countingSchema() {
  const own = buildSchema(`
    directive @loud on FIELD
    type Query { thing: Thing  things: [Thing!]!  holders: [Holder] }
    type Mutation { touch: Thing }
    type Holder { thing: Thing }
    type Thing { name(short: Boolean): String!  later: String  isMine: Boolean }
  `)
  const counts = { names: 0, touches: 0, reads: 0 }
  const thing = own.getType('Thing') as GraphQLObjectType
  Object.assign(thing, { extensions: { isSameForAll: true, isImmutable: true } })
  const { name, later, isMine } = thing.getFields()
  Object.assign(name as object, {
    resolve(source: { name: string | null }) {
      counts.names += 1
      return source.name
    },
  })
  Object.assign(later as object, { resolve: async () => 'later' })
  Object.assign(isMine as object, {
    resolve: (_source: unknown, _args: unknown, context: { me: string }) => context.me === 'alice',
    extensions: { needsCaller: true },
  })
  Object.assign(own.getQueryType()?.getFields().things as object, {
    resolve(root: { things: unknown }) {
      counts.reads += 1
      return root.things
    },
  })
  Object.assign(own.getMutationType()?.getFields().touch as object, {
    resolve() {
      counts.touches += 1
      return { name: null }
    },
  })
  return { own, counts }
}

const A = { id: 'a', name: 'a' }
const B = { id: 'b', name: 'b' }

function asking(query: string, rootValue: object) {
  const { own, counts } = countingSchema()
  const executeKept = createKeptTexts(own)
  const ask = async (text = query, root = rootValue) => {
    const args = { schema: own, document: parse(text), rootValue: root, contextValue: { me: 'alice' } }
    const kept = await executeKept(args)
    const before = { ...counts }
    expect(stringify(kept)).toBe(JSON.stringify(await execute(args)))
    Object.assign(counts, before)
    return kept
  }
  return { counts, ask }
}

describe('a text', () => {
  it('is made once for an object and a selection, whatever document and field has it', async () => {
    const { counts, ask } = asking('{ things { name } }', {
      things: [A, B, A],
      thing: A,
      holders: [{ thing: B }, null],
    })
    await ask()
    expect(counts.names).toBe(2)
    await ask('query Another { all: things { ...Parts } } fragment Parts on Thing { name }')
    // A fragment is another selection.
    expect(counts.names).toBe(4)
    await ask('{ thing { name } holders { thing { name } } }')
    await ask('{ things { name } }')
    expect(counts.names).toBe(4)
  })

  it('is another one for an object that took the place of an earlier one, whose text is dropped', async () => {
    const { counts, ask } = asking('{ things { name } }', { things: [A] })
    await ask()
    expect(stringify(await ask(undefined, { things: [{ id: 'a', name: 'changed' }] }))).toContain('changed')
    expect(counts.names).toBe(2)
    await ask()
    expect(counts.names).toBe(3)
  })

  it('serves an object that says the same as the one before', async () => {
    const { counts, ask } = asking('{ things { name } }', { things: [A] })
    await ask()
    await ask(undefined, { things: [{ ...A }] })
    expect(counts.names).toBe(1)
    await ask(undefined, { things: [{ ...A, more: 1 }] })
    expect(counts.names).toBe(2)
  })

  it('is one of 32 at most that are kept of an object, whatever selections a client invents', async () => {
    const { counts, ask } = asking('{ things { name } }', { things: [A] })
    await ask()
    for (let count = 0; count < 31; count += 1) await ask(`{ things { name${count}: name } }`)
    await ask()
    expect(counts.names).toBe(32)
    await ask('{ things { another: name } }')
    await ask('{ things { name } }', { things: [A] })
    expect(counts.names).toBe(34)
  })

  it('is not kept of an object without an id', async () => {
    const { counts, ask } = asking('{ things { name } }', { things: [{ name: 'a' }] })
    await ask()
    await ask()
    expect(counts.names).toBe(2)
  })

  it('serves a document that merges selections of one response key', async () => {
    const { ask } = asking(
      '{ things { name } things { other: name } ...P } fragment P on Query { things { __typename } }',
      {
        things: [A],
      },
    )
    expect(hasText(await ask())).toBe(true)
  })

  it.each([
    ['a directive of the app’s own', '{ things { name @loud } }', { things: [A] }],
    ['an argument below', '{ things { name(short: true) } }', { things: [A] }],
    ['a field that looks at who asks', '{ things { isMine } }', { things: [A] }],
    ['a field that answers later', '{ things { later } }', { things: [A] }],
    ['an error below', '{ things { name } }', { things: [A, { name: null }] }],
    ['a null where none may be', '{ things { name } }', { things: [A, null] }],
    ['an error in the list', '{ things { name } }', { things: [A, new Error('lost')] }],
    ['an object that comes later', '{ things { name } }', { things: [A, Promise.resolve(B)] }],
    ['a list of another kind', '{ things { name } }', { things: new Set([A]) }],
  ])('is not kept where there is %s, and the answer is that of graphql-js', async (_why, query, root) => {
    const { ask } = asking(query, root)
    expect(hasText(await ask())).toBe(false)
  })

  it('leaves the errors of the fields above as they are, and asks them once', async () => {
    const { counts, ask } = asking('{ things { name } }', {
      get things() {
        throw new Error('The list is lost.')
      },
    })
    const { errors } = await ask()
    expect(errors).toMatchObject([{ message: 'The list is lost.', path: ['things'] }])
    expect(counts.reads).toBe(1)
  })

  it('never makes a mutation run twice', async () => {
    const { counts, ask } = asking('mutation { touch { name } }', {})
    await ask()
    expect(counts.touches).toBe(1)
  })
})
