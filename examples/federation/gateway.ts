/** A gateway in front of the app's subgraph and Rollcall: Hive Gateway as a library. */
import { createGatewayRuntime } from '@graphql-hive/gateway-runtime'
import { composeServices } from '@theguild/federation-composition'
import { parse } from 'graphql'

export interface GatewayOptions {
  /** `http://localhost:4000/graphql` */
  readonly rollcallUrl: string
  readonly usersUrl: string
  /** A token with the role `service`, with which the gateway reads the schema. */
  readonly rollcallToken: string
  /**
   * `person`: each subscription is an event stream with the token of the person who asks the gateway. `service`: they
   * go over a socket with the gateway's token, and everyone who asks the gateway sees all that it sees.
   */
  readonly followAs?: 'person' | 'service'
}

export async function createGateway({ rollcallUrl, usersUrl, rollcallToken, followAs = 'person' }: GatewayOptions) {
  const supergraph = await compose([
    { name: 'users', url: usersUrl, token: null },
    { name: 'rollcall', url: rollcallUrl, token: rollcallToken },
  ])
  // A socket of a service token is an observer: nobody's session.
  const socket = {
    kind: 'ws',
    location: new URL(rollcallUrl).pathname,
    options: { connectionParams: { authorization: `Bearer ${rollcallToken}` } },
  }
  return createGatewayRuntime({
    supergraph,
    logging: false,
    // Rollcall is asked with the token of the person who asks the gateway, and shows them what they may see.
    propagateHeaders: {
      fromClientToSubgraphs: ({ request }) => ({ authorization: request.headers.get('authorization') }),
    },
    transportEntries: followAs === 'person' ? {} : { rollcall: { options: { subscriptions: socket } } },
  })
}

interface Subgraph {
  readonly name: string
  readonly url: string
  readonly token: string | null
}

/** What `rover supergraph compose` does in a build. */
async function compose(subgraphs: readonly Subgraph[]): Promise<string> {
  const services = await Promise.all(
    subgraphs.map(async ({ name, url, token }) => ({ name, url, typeDefs: parse(await sdlOf(url, token)) })),
  )
  const { supergraphSdl, errors = [] } = composeServices(services)
  if (supergraphSdl === undefined) throw new Error(errors.map(({ message }) => message).join('\n'))
  return supergraphSdl
}

async function sdlOf(url: string, token: string | null): Promise<string> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...(token === null ? {} : { authorization: `Bearer ${token}` }) },
    body: JSON.stringify({ query: '{ _service { sdl } }' }),
  })
  const { data, errors } = (await response.json()) as { data?: { _service: { sdl: string } }; errors?: unknown }
  if (data === undefined || errors !== undefined) throw new Error(`${url} has no schema: ${JSON.stringify(errors)}`)
  return data._service.sdl
}
