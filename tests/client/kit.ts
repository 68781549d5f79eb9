/** The client kit as an app in Node has it, against a server of the test's own. */
import { afterAll, afterEach, beforeAll } from 'vitest'
import { WebSocket } from 'ws'
import { createPresence, type Presence, type PresenceOptions, type Store } from '../../client/src/index.ts'
import type { SettingTexts } from '../../src/config.ts'
import { closeTabs } from '../support/clients.ts'
import { startServer, type TestServer } from '../support/server.ts'
import { openTcpProxy, type TcpProxy } from '../support/tcp-proxy.ts'
import { until } from '../support/wait.ts'

const open = new Set<Presence>()

/** @param userId - signs in as `dev:<userId>`, unless `options` has a token */
export function presenceOf(
  server: Pick<TestServer, 'url'>,
  userId: string,
  options: Partial<PresenceOptions> = {},
): Presence {
  const presence = createPresence({
    url: `${server.url}/graphql`,
    token: `dev:${userId}`,
    webSocketImpl: WebSocket,
    ...options,
  })
  open.add(presence)
  return presence
}

/** For afterEach: whatever a test left open. */
export function closeAll(): void {
  for (const presence of open) presence.close()
  open.clear()
}

export interface ServerForTests {
  readonly server: TestServer
  /** Leads to the server, and is whole again after each test. */
  readonly wire: TcpProxy
  /** The server at the far end of the wire. */
  readonly near: Pick<TestServer, 'url'>
}

/** Within `describe`: one server for all its tests. What a test opened is closed after it. */
export function serverForTests(settings: SettingTexts): ServerForTests {
  let server: TestServer
  let wire: TcpProxy
  beforeAll(async () => {
    server = await startServer(settings)
    wire = await openTcpProxy({ host: '127.0.0.1', port: Number(new URL(server.url).port) })
  })
  afterEach(() => {
    wire.mend()
    closeAll()
    closeTabs()
  })
  afterAll(async () => {
    await wire.close()
    await server.stop()
  })
  return {
    get server() {
      return server
    },
    get wire() {
      return wire
    },
    get near() {
      return { url: `http://127.0.0.1:${wire.port}` }
    },
  }
}

/** Reads a store until the test is over, and remembers all that it said. */
export function read<Snapshot>(store: Store<Snapshot>): { readonly said: Snapshot[]; now(): Snapshot; stop(): void } {
  const said = [store.getSnapshot()]
  const stop = store.subscribe(() => void said.push(store.getSnapshot()))
  return { said, now: () => store.getSnapshot(), stop }
}

export async function untilLive<Snapshot extends { readonly state: string }>(
  store: Store<Snapshot>,
  withinMs = 10_000,
): Promise<Snapshot> {
  return until(() => store.getSnapshot().state === 'live' && store.getSnapshot(), { what: 'a live store', withinMs })
}
