/** How a gateway of Apollo Federation asks for users: by representations, `{ __typename: "User", id }`. */
import { badInput } from '../presence/errors.ts'
import type { PublicUser } from '../presence/model.ts'
import { callerOf, type RequestContext } from './context.ts'

/**
 * One lookup for all representations.
 *
 * A user who was never seen is offline here, and not null: the subgraph that the gateway has the id from says that they
 * exist.
 */
export async function entities(
  _root: unknown,
  { representations }: { readonly representations: readonly unknown[] },
  context: RequestContext,
): Promise<PublicUser[]> {
  const caller = callerOf(context)
  const ids = representations.map((representation, index) => idOf(representation, `representations[${index}]`))
  const users = await context.presence.entities(caller, ids)
  return users.map((user, index) => user ?? neverSeen(String(ids[index])))
}

function idOf(representation: unknown, argument: string): string {
  if (typeof representation !== 'object' || representation === null) throw badInput(argument, 'an object')
  const { __typename: type, id } = representation as { readonly __typename?: unknown; readonly id?: unknown }
  if (type !== 'User') throw badInput(`${argument}.__typename`, '`User`')
  if (typeof id !== 'string') throw badInput(`${argument}.id`, 'a text')
  return id
}

function neverSeen(id: string): PublicUser {
  return {
    id,
    name: id,
    avatarUrl: null,
    isOnline: false,
    status: 'OFFLINE',
    statusMessage: null,
    onlineSinceMs: null,
    lastActiveAtMs: null,
    lastSeenAtMs: null,
  }
}
