/** Random selections of the schema's types that are the same for everyone, and random users. */
import fc from 'fast-check'
import type { PublicUser } from '../../src/presence/model.ts'

interface Selectable {
  readonly leaves: readonly string[]
  /** Fields with fields of their own, and their types. */
  readonly inner: Readonly<Record<string, TypeName>>
}
type TypeName = 'PresenceChange' | 'User' | 'OnlineUsersConnection' | 'OnlineUsersEdge' | 'PageInfo'

const TYPES: Readonly<Record<TypeName, Selectable>> = {
  PresenceChange: {
    leaves: ['kind', 'previousStatus', 'room', 'position', 'at', '__typename'],
    inner: { user: 'User' },
  },
  User: {
    leaves: [
      'id',
      'name',
      'avatarUrl',
      'isOnline',
      'status',
      'statusMessage',
      'onlineSince',
      'lastActive',
      'lastSeen',
      '__typename',
    ],
    inner: {},
  },
  OnlineUsersConnection: {
    leaves: ['totalCount', 'position', '__typename'],
    inner: { nodes: 'User', edges: 'OnlineUsersEdge', pageInfo: 'PageInfo' },
  },
  OnlineUsersEdge: { leaves: ['cursor', '__typename'], inner: { node: 'User' } },
  PageInfo: { leaves: ['hasNextPage', 'startCursor', 'endCursor'], inner: {} },
}

export const condition = fc.constantFrom(
  '',
  '',
  '@include(if: $yes)',
  '@skip(if: $yes)',
  '@include(if: $other)',
  '@skip(if: true)',
  '@include(if: true) @skip(if: $other)',
)

/**
 * Selections of a type: fields with aliases and conditions, inline fragments and named ones. The document has a fragment
 * `UserParts`, and one for the type.
 */
export function selectionsOf(type: TypeName, depth: number): fc.Arbitrary<string> {
  const { leaves, inner } = TYPES[type]
  const alias = fc.constantFrom('', '', 'one: ', 'other: ', 'user: ')
  const leaf = fc.tuple(alias, fc.constantFrom(...leaves), condition).map((parts) => parts.join(' '))
  const kinds: fc.Arbitrary<string>[] = [leaf, leaf, condition.map((word) => `...${type}Parts ${word}`)]
  if (depth > 0) {
    kinds.push(
      fc
        .tuple(fc.constantFrom('', `on ${type}`), condition, selectionsOf(type, depth - 1))
        .map(([on, word, selections]) => `... ${on} ${word} { ${selections} }`),
    )
    for (const [name, of] of Object.entries(inner)) {
      kinds.push(
        fc
          .tuple(fc.constantFrom('', 'who: '), condition, selectionsOf(of, depth - 1))
          .map(([alias, word, selections]) => `${alias} ${name} ${word} { ${selections} }`),
      )
    }
  }
  return fc.array(fc.oneof(...kinds), { minLength: 1, maxLength: 5 }).map((all) => all.join('\n'))
}

export const user: fc.Arbitrary<PublicUser> = fc.record({
  id: fc.string({ unit: 'grapheme', minLength: 1 }),
  name: fc.string({ unit: 'grapheme' }),
  avatarUrl: fc.option(fc.webUrl()),
  isOnline: fc.boolean(),
  status: fc.constantFrom('ONLINE', 'AWAY', 'BUSY', 'OFFLINE'),
  statusMessage: fc.option(fc.string({ unit: 'binary' })),
  onlineSinceMs: fc.option(fc.nat()),
  // What cannot be written as a moment is an error in the answer.
  lastActiveAtMs: fc.option(
    fc.oneof({ weight: 30, arbitrary: fc.nat() }, { weight: 1, arbitrary: fc.constant(Number.NaN) }),
  ),
  lastSeenAtMs: fc.option(fc.nat()),
})
