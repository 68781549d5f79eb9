/** A Redis of a test file's own, whose keys, clients and limits it may do to as it likes. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll } from 'vitest'
import type {
  AdoptedUser,
  ChangeListener,
  InheritedUser,
  NodeListener,
  PresenceStore,
} from '../../../src/presence/store.ts'
import type { PresenceTiming } from '../../../src/presence/timing.ts'
import { cleanupsAfterEach } from '../../support/cleanup.ts'
import { type RedisOptions, type RedisServer, startRedis } from '../../support/redis.ts'
import { openTcpProxy, type TcpProxy } from '../../support/tcp-proxy.ts'
import { CALM, seedOf, VISIBLE } from '../presence-store/harness.ts'
import { openRedisNodes, type RedisNodes } from '../redis-harness.ts'

export interface OwnRedis {
  server(): RedisServer
  /** Closed after the test. */
  nodes(timing?: Partial<PresenceTiming>): Promise<RedisNodes>
  /** In front of the server, closed after the test. */
  proxy(): Promise<TcpProxy & { readonly url: string }>
}

/** @param options - of the server that all tests of the file have, one after the other */
export function ownRedis(options: RedisOptions = {}): OwnRedis {
  const cleanups = cleanupsAfterEach()
  let server: RedisServer | null = null

  function running(): RedisServer {
    if (server === null) throw new Error('The server has not started.')
    return server
  }

  beforeAll(async () => {
    server = await startRedis(options)
  })
  afterAll(async () => {
    await server?.stop()
  })

  return {
    server: running,

    async nodes(timing = {}) {
      const nodes = await openRedisNodes({ namespace: randomUUID(), timing: { ...CALM, ...timing } }, running().url)
      cleanups.push(nodes.close)
      return nodes
    },

    async proxy() {
      const proxy = await openTcpProxy(running())
      cleanups.push(proxy.close)
      return Object.assign(proxy, { url: `redis://127.0.0.1:${proxy.port}` })
    },
  }
}

/** Writes down what a store tells, one word each. */
export function listenTo(store: PresenceStore) {
  const told = { changes: [] as string[], newEpochs: [] as string[], viewers: [] as (string | null)[], anewCount: 0 }
  const changes: ChangeListener = {
    entry({ seq, before, after }) {
      const kind = before.user.isOnline ? (after.user.isOnline ? 'UPDATE' : 'LEAVE') : 'JOIN'
      told.changes.push(`${seq} ${after.user.id} ${kind}`)
    },
    newEpoch: ({ epoch, seq }) => void told.newEpochs.push(`${epoch} ${seq}`),
  }
  const node: NodeListener = {
    news() {},
    startAnew() {
      told.anewCount += 1
    },
  }
  store.changes.listen(changes)
  store.nodes.listen(node)
  store.viewers.listen((userId) => void told.viewers.push(userId))
  return told
}

/** What a node does with users whom the epoch found in the store, given what the database has of them. */
export async function adoptInherited(
  store: PresenceStore,
  recorded: (user: InheritedUser) => AdoptedUser,
): Promise<readonly InheritedUser[]> {
  const all: InheritedUser[] = []
  for (;;) {
    const users = await store.inherited(2)
    if (users.length === 0) return all
    all.push(...users)
    await store.adopt(users.map(recorded))
  }
}

/** What a node says of itself, and nothing more. */
export function renew(store: PresenceStore, nodeId: string) {
  return store.renewNode({ nodeId, seenLossCount: 0, seenDismissalCount: null, isReturning: false })
}

/** Of a user whom the store need not know: one call, so that it can be told twice. */
export function attachRequest(userId: string, sessionId: string, fence: string, nodeId = 'node-1') {
  return {
    ...{ userId, sessionId, fence, nodeId },
    isActive: true,
    profile: null,
    seed: seedOf(VISIBLE),
    comeback: null,
  }
}
