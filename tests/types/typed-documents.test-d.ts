/**
 * What must not compile: `tsc --noEmit` fails where one of the lines marked `@ts-expect-error` is no error.
 *
 * Nothing here runs.
 */
import type { ApolloClient } from '@apollo/client'
import type { Client as UrqlClient } from 'urql'
import { OnlineUsers, PresenceChanged } from '../../examples/operations.ts'
import { ChooseStatus, Me } from '../../web/page/operations.ts'
import { ask, type SocketClient } from '../../web/page/requests.ts'

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

export async function page(client: SocketClient): Promise<unknown[]> {
  const { viewer } = await ask(client, Me, {})
  await ask(client, ChooseStatus, { status: 'BUSY', message: null })
  // @ts-expect-error A variable without a default must be given.
  await ask(client, ChooseStatus, { message: 'Lunch' })
  // @ts-expect-error Nobody can choose to be online.
  await ask(client, ChooseStatus, { status: 'ONLINE' })
  return [
    viewer.statusChoice,
    // @ts-expect-error A viewer has no such field.
    viewer.password,
  ]
}
