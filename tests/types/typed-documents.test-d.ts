/**
 * What must not compile: `tsc --noEmit` fails where one of the lines marked `@ts-expect-error` is no error.
 *
 * Nothing here runs.
 */
import type { ApolloClient } from '@apollo/client'
import type { Client as UrqlClient } from 'urql'
import { OnlineUsers, PresenceChanged } from '../../examples/operations.ts'

export async function fieldsOfApollo(client: ApolloClient): Promise<unknown[]> {
  const { data } = await client.query({ query: OnlineUsers, variables: { room: 'lobby' } })
  const [user] = data?.onlineUsers.nodes ?? []
  const name: string | undefined = user?.name
  return [
    name,
    // @ts-expect-error A user has no such field.
    user?.nickname,
    // @ts-expect-error The schema has it, this operation does not ask for it.
    user?.lastActive,
    // @ts-expect-error A moment is a text, no Date.
    user?.onlineSince?.getTime(),
    // @ts-expect-error There is no such status.
    user?.status === 'INVISIBLE',
  ]
}

export async function variablesOfApollo(client: ApolloClient): Promise<void> {
  // @ts-expect-error A room is a text.
  await client.query({ query: OnlineUsers, variables: { room: 1 } })
  // @ts-expect-error The operation has no such variable.
  await client.query({ query: OnlineUsers, variables: { rooms: ['lobby'] } })
}

export async function urql(client: UrqlClient): Promise<unknown[]> {
  const { data } = await client.query(OnlineUsers, { room: 'lobby' })
  // @ts-expect-error A position is a text.
  client.subscription(PresenceChanged, { after: 1 })
  return [
    data?.onlineUsers.position,
    // @ts-expect-error A connection has no such field.
    data?.onlineUsers.total,
  ]
}
