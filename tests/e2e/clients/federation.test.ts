/** Gateways of Apollo Federation 2 in front of Rollcall and a subgraph of the app's own: examples/federation. */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import type { RequestListener } from 'node:http'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { ApolloGateway, IntrospectAndCompose, RemoteGraphQLDataSource } from '@apollo/gateway'
import { ApolloServer } from '@apollo/server'
import { createClient } from 'graphql-sse'
import { describe, expect, it } from 'vitest'
import { createGateway } from '../../../examples/federation/gateway.ts'
import { createUsersSubgraph } from '../../../examples/federation/users.ts'
import type { SettingTexts } from '../../../src/config.ts'
import { cleanupsAfterEach } from '../../support/cleanup.ts'
import { type Answer, closeTabs, openTab, post } from '../../support/clients.ts'
import { freePort } from '../../support/free-port.ts'
import { metricOf } from '../../support/metrics.ts'
import { serve } from '../../support/serve.ts'
import { embeddedData, LONG_LEASE, postgresData, startServer, type TestServer } from '../../support/server.ts'
import { openTcpProxy } from '../../support/tcp-proxy.ts'
import { SECRET, sign } from '../../support/tokens.ts'
import { until } from '../../support/wait.ts'

const USERS = '{ users { email isOnline status lastActive } }'

/** npm, tsx and a gateway start one after the other, beside all other tests. */
const START_TIME_LIMIT_MS = 150_000

const cleanups = cleanupsAfterEach()

async function open(handler: RequestListener): Promise<string> {
  const { url, stop } = await serve(handler)
  cleanups.push(stop)
  return url
}

async function startRollcall(settings: SettingTexts = {}): Promise<TestServer> {
  // A gateway that loads its parts in this process holds it up for seconds.
  const server = await startServer({ FEDERATION: 'true', JWT_SECRET: SECRET, ...LONG_LEASE, ...settings })
  let isStopped = false
  async function stop(): Promise<void> {
    if (isStopped) return
    isStopped = true
    closeTabs()
    await server.stop()
  }
  cleanups.push(stop)
  return { ...server, stop }
}

describe('Hive Gateway', () => {
  async function openGateway(rollcall: TestServer, followAs: 'person' | 'service' = 'person') {
    const users = await open(createUsersSubgraph())
    const gateway = await createGateway({
      rollcallUrl: `${rollcall.url}/graphql`,
      usersUrl: `${users}/graphql`,
      rollcallToken: await sign({ sub: 'gateway', presence: { role: 'service' } }),
      followAs,
    })
    const url = await open(gateway)
    cleanups.push(async () => gateway[Symbol.asyncDispose]())
    return { url }
  }

  /** A client of the gateway, by server-sent events as graphql-sse documents them. */
  function subscribe({ url }: { url: string }, token: string, query: string, variables = {}) {
    const heard = { data: [] as any[], errors: [] as any[], isComplete: false }
    const client = createClient({
      url: `${url}/graphql`,
      headers: { authorization: `Bearer ${token}` },
      retryAttempts: 0,
    })
    cleanups.push(async () => client.dispose())
    client.subscribe(
      { query, variables },
      {
        next({ data, errors = [] }) {
          if (data) heard.data.push(data)
          heard.errors.push(...errors)
        },
        error: (error) => heard.errors.push(error),
        complete() {
          heard.isComplete = true
        },
      },
    )
    return heard
  }

  it('adds to the users of the app how present they are', async () => {
    const rollcall = await startRollcall()
    const gateway = await openGateway(rollcall)
    await openTab(rollcall, 'alice')
    const { data, errors } = await post(gateway, 'dev:bob', USERS)
    expect(errors).toBeUndefined()
    expect(data?.users).toEqual([
      { email: 'alice@example.com', isOnline: true, status: 'ONLINE', lastActive: expect.any(String) },
      // Rollcall has never seen Bob.
      { email: 'bob@example.com', isOnline: false, status: 'OFFLINE', lastActive: null },
    ])
  })

  it('adds to the list of Rollcall who its users are in the app', async () => {
    const rollcall = await startRollcall()
    const gateway = await openGateway(rollcall)
    await openTab(rollcall, 'alice')
    const { data } = await post(gateway, 'dev:bob', '{ onlineUsers { totalCount nodes { email status } } }')
    expect(data?.onlineUsers).toEqual({ totalCount: 1, nodes: [{ email: 'alice@example.com', status: 'ONLINE' }] })
  })

  it('keeps the users of the app where Rollcall refuses who asks, or is away', async () => {
    const rollcall = await startRollcall()
    const gateway = await openGateway(rollcall)
    const unknown = { isOnline: null, status: null, lastActive: null }
    const known = [
      { email: 'alice@example.com', ...unknown },
      { email: 'bob@example.com', ...unknown },
    ]
    const token = await sign({ sub: 'carol', presence: { everyone: false } })
    const refused = await post(gateway, token, USERS)
    expect(refused.data?.users).toEqual(known)
    expect(refused.errors?.[0]?.extensions.code).toBe('FORBIDDEN')
    await rollcall.stop()
    const away = await post(gateway, 'dev:bob', USERS)
    expect(away.data?.users).toEqual(known)
    expect(away.errors?.length).toBeGreaterThan(0)
  })

  it.each([
    { followAs: 'person', hasSocket: false },
    { followAs: 'service', hasSocket: true },
  ] as const)('follows changes as $followAs, which makes nobody online', async ({ followAs, hasSocket }) => {
    const rollcall = await startRollcall()
    const gateway = await openGateway(rollcall, followAs)
    const query = 'subscription { presenceChanged { kind user { email status } } }'
    const heard = [subscribe(gateway, 'dev:bob', query), subscribe(gateway, 'dev:carol', query)]
    const alice = await openTab(rollcall, 'alice')
    const statuses = ['BUSY', 'AWAY']
    await until(
      async () => {
        await alice.ask(`mutation { setStatus(status: ${statuses[0]}) { viewer { status } } }`)
        statuses.reverse()
        return heard.every(({ data }) => data.length > 0)
      },
      { everyMs: 50, what: 'a change at both clients' },
    )
    expect(heard.map(({ data }) => data[0].presenceChanged.user.email)).toEqual(Array(2).fill('alice@example.com'))
    // One is Alice's.
    expect((await metricOf(rollcall, 'rollcall_sockets')) > 1).toBe(hasSocket)
    const { data } = await post(rollcall, 'dev:bob', '{ onlineUsers { nodes { id } } }')
    expect(data?.onlineUsers.nodes).toEqual([{ id: 'alice' }])
  })

  it.each([
    { followAs: 'person', goesOn: false },
    { followAs: 'service', goesOn: true },
  ] as const)('ends what it follows as $followAs at a deploy, or goes on: $goesOn', async ({ followAs, goesOn }) => {
    const data = await postgresData()
    cleanups.push(() => data.drop())
    const first = await startRollcall(data.settings)
    const proxy = await openTcpProxy({ host: '127.0.0.1', port: Number(new URL(first.url).port) })
    cleanups.push(() => proxy.close())
    const gateway = await openGateway({ ...first, url: `http://127.0.0.1:${proxy.port}` }, followAs)
    const heard = subscribe(gateway, 'dev:bob', 'subscription { presenceChanged { kind user { status } } }')
    const statuses = ['BUSY', 'AWAY']
    async function change(rollcall: TestServer): Promise<void> {
      const status = `setStatus(status: ${statuses[0]}) { viewer { status } }`
      await post(rollcall, 'dev:alice', `mutation { heartbeat { expiresAt } ${status} }`)
      statuses.reverse()
    }
    await until(() => change(first).then(() => heard.data.length > 0), { everyMs: 50, what: 'a first change' })
    await first.stop()
    const second = await startRollcall(data.settings)
    proxy.retarget(Number(new URL(second.url).port))
    const before = heard.data.length
    await until(() => change(second).then(() => heard.isComplete || heard.data.length > before), {
      everyMs: 50,
      what: 'its end, or a change after the deploy',
      withinMs: 20_000,
    })
    expect([heard.isComplete, heard.errors.length > 0]).toEqual(goesOn ? [false, false] : [true, true])
  })

  it('tells its client why a subscription cannot begin', async () => {
    const [rollcall, other] = [await startRollcall(), await startRollcall()]
    const gateway = await openGateway(rollcall)
    const { data } = await post(other, 'dev:bob', '{ position }')
    const query = 'subscription ($after: String) { presenceChanged(after: $after) { kind } }'
    const expired = subscribe(gateway, 'dev:bob', query, { after: data?.position })
    const carol = await sign({ sub: 'carol', presence: { everyone: false } })
    const refused = subscribe(gateway, carol, query)
    await until(() => [expired, refused].every(({ errors }) => errors.length > 0), { what: 'both errors' })
    const codes = [expired, refused].map(({ errors }) => errors.map(({ extensions }) => extensions?.code))
    expect(codes).toEqual([['POSITION_EXPIRED'], ['FORBIDDEN']])
  })
})

describe('@apollo/gateway', () => {
  async function openGateway(rollcall: TestServer) {
    const users = await open(createUsersSubgraph())
    const service = await sign({ sub: 'gateway', presence: { role: 'service' } })
    const gateway = new ApolloGateway({
      supergraphSdl: new IntrospectAndCompose({
        subgraphs: [
          { name: 'users', url: `${users}/graphql` },
          { name: 'rollcall', url: `${rollcall.url}/graphql` },
        ],
        introspectionHeaders: { authorization: `Bearer ${service}` },
      }),
      buildService: ({ url }) =>
        new RemoteGraphQLDataSource<{ token?: string }>({
          ...(url === undefined ? {} : { url }),
          willSendRequest({ request, context }) {
            request.http?.headers.set('authorization', `Bearer ${context.token ?? service}`)
          },
        }),
    })
    const server = new ApolloServer<{ token?: string }>({ gateway })
    await server.start()
    cleanups.push(() => server.stop())
    return {
      async ask(token: string, query: string): Promise<Answer> {
        const { body } = await server.executeOperation({ query }, { contextValue: { token } })
        if (body.kind !== 'single') throw new Error('The answer came in parts.')
        return JSON.parse(JSON.stringify(body.singleResult)) as Answer
      },
    }
  }

  it('adds to the users of the app how present they are, and to the list who they are', async () => {
    const rollcall = await startRollcall({ INTROSPECTION: 'token' })
    const gateway = await openGateway(rollcall)
    await openTab(rollcall, 'alice')
    const { data, errors } = await gateway.ask('dev:bob', USERS)
    expect(errors).toBeUndefined()
    expect(data?.users).toEqual([
      { email: 'alice@example.com', isOnline: true, status: 'ONLINE', lastActive: expect.any(String) },
      { email: 'bob@example.com', isOnline: false, status: 'OFFLINE', lastActive: null },
    ])
    const list = await gateway.ask('dev:bob', '{ onlineUsers { nodes { email status } } }')
    expect(list.data?.onlineUsers.nodes).toEqual([{ email: 'alice@example.com', status: 'ONLINE' }])
  })

  it('keeps the users of the app where Rollcall refuses who asks, or is away', async () => {
    const rollcall = await startRollcall()
    const gateway = await openGateway(rollcall)
    const token = await sign({ sub: 'carol', presence: { everyone: false } })
    const refused = await gateway.ask(token, '{ users { email isOnline } }')
    const known = [
      { email: 'alice@example.com', isOnline: null },
      { email: 'bob@example.com', isOnline: null },
    ]
    expect(refused.data?.users).toEqual(known)
    expect(refused.errors?.[0]?.extensions.code).toBe('FORBIDDEN')
    await rollcall.stop()
    const away = await gateway.ask('dev:bob', '{ users { email isOnline } }')
    expect(away.data?.users).toEqual(known)
    expect(away.errors?.length).toBeGreaterThan(0)
  })
})

describe('examples/federation', () => {
  const root = fileURLToPath(new URL('../../../', import.meta.url))

  /** Runs a block of the README in a process group of its own, which the test ends. */
  function launch(block: string, environment: NodeJS.ProcessEnv): { child: ChildProcess; output: () => string } {
    const child = spawn('sh', ['-c', block], {
      cwd: root,
      env: { PATH: process.env.PATH, HOME: process.env.HOME, ...environment },
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let output = ''
    for (const stream of [child.stdout, child.stderr]) {
      stream?.on('data', (chunk) => {
        output += String(chunk)
      })
    }
    cleanups.push(async () => {
      if (child.exitCode !== null || child.signalCode !== null) return
      const exited = once(child, 'exit')
      process.kill(-Number(child.pid), 'SIGTERM')
      await exited
    })
    return { child, output: () => output }
  }

  /** @throws with what the program said, where it ends or is not ready in time */
  async function untilSaid({ child, output }: ReturnType<typeof launch>, words: string): Promise<void> {
    await until(() => output().includes(words) || child.exitCode !== null, {
      what: words,
      withinMs: START_TIME_LIMIT_MS,
    }).catch((error: Error) => {
      throw new Error(`${error.message} ${output()}`)
    })
    if (!output().includes(words)) throw new Error(`It ended with ${child.exitCode}: ${output()}`)
  }

  it('does what its README says', { timeout: 3 * START_TIME_LIMIT_MS }, async () => {
    const readme = await readFile(`${root}examples/federation/README.md`, 'utf8')
    const blocks = [...readme.matchAll(/```sh\n([\s\S]*?)```/g)].map(([, block]) => String(block))
    const [rollcall = '', gateway = '', ask = '', follow = ''] = blocks
    expect(blocks).toHaveLength(4)
    const data = await embeddedData()
    cleanups.push(() => data.drop())
    const [port, usersPort, gatewayPort] = await Promise.all([1, 2, 3].map(() => freePort('127.0.0.1')))
    const here = (block: string) => block.replaceAll(':4000', `:${port}`).replaceAll(':4002', `:${gatewayPort}`)

    // The packages are here already.
    const first = launch(rollcall.replace('npm ci\n', ''), { ...data.settings, PORT: String(port) })
    await untilSaid(first, 'Rollcall is ready.')
    const second = launch(gateway, {
      ROLLCALL_URL: `http://localhost:${port}/graphql`,
      USERS_PORT: String(usersPort),
      PORT: String(gatewayPort),
    })
    await untilSaid(second, 'The gateway is ready')

    const { stdout } = await promisify(execFile)('sh', ['-c', here(ask)])
    const shown = ask.trimEnd().split('\n').at(-1)?.replace('# ', '')
    expect(stdout).toContain(shown)

    const stream = launch(here(follow), {})
    const alice = { url: `http://localhost:${port}` }
    const statuses = ['BUSY', 'AWAY']
    await until(
      async () => {
        await post(alice, 'dev:alice', `mutation { setStatus(status: ${statuses[0]}) { viewer { status } } }`)
        statuses.reverse()
        return stream.output().includes('alice@example.com')
      },
      { everyMs: 100, what: 'a change of Alice', withinMs: 20_000 },
    )
  })
})
