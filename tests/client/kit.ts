/** The client kit as an app in Node has it, against a server of the test's own. */
import { WebSocket } from 'ws'
import { createPresence, type Presence, type PresenceOptions, type Store } from '../../client/src/index.ts'
import type { TestServer } from '../support/server.ts'
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
