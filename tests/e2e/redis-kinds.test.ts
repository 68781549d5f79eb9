/** Two processes are one presence, however Redis runs. */
import { randomUUID } from 'node:crypto'
import { afterEach, expect, it } from 'vitest'
import type { SettingTexts } from '../../src/config.ts'
import { cleanupsAfterEach } from '../support/cleanup.ts'
import { closeTabs, onlineIds, openTab, settled } from '../support/clients.ts'
import { startProcess } from '../support/process.ts'
import { startRedis, startValkey } from '../support/redis.ts'
import { startCluster } from '../support/redis-cluster.ts'
import { startSentinel } from '../support/redis-sentinel.ts'
import { postgresData, startServer } from '../support/server.ts'
import { until } from '../support/wait.ts'

const cleanups = cleanupsAfterEach()

// The hooks that came last go first: no tab is left when its server stops.
afterEach(closeTabs)

async function twoNodes(settings: SettingTexts) {
  const data = await postgresData()
  cleanups.push(data.drop)
  const nodes = await Promise.all([1, 2].map(() => startServer({ ...data.settings, ...settings })))
  cleanups.push(() => Promise.all(nodes.map((node) => node.stop())))
  return nodes
}

type Node = Awaited<ReturnType<typeof twoNodes>>[number]

async function expectOnePresence([one, other]: readonly Pick<Node, 'url' | 'wsUrl'>[]) {
  if (one === undefined || other === undefined) throw new Error('Two nodes are needed.')
  const watcher = await openTab(other, 'watcher', { observer: true })
  const changes = watcher.follow()
  await settled(watcher)
  const tab = await openTab(one, 'alice')
  await until(() => changes.length === 1, { what: 'the JOIN on the other node' })
  expect(await onlineIds(other, 'dev:reader')).toEqual(['alice'])
  await tab.close()
  await until(() => changes.length === 2, { what: 'the LEAVE on the other node' })
  expect(changes.map(({ kind, user }) => [kind, user.id])).toEqual([
    ['JOIN', 'alice'],
    ['LEAVE', 'alice'],
  ])
}

it('alone', async () => {
  const redis = await startRedis()
  cleanups.push(redis.stop)
  await expectOnePresence(await twoNodes({ REDIS_URL: redis.url }))
})

it('as Valkey', async () => {
  const valkey = await startValkey()
  cleanups.push(valkey.stop)
  await expectOnePresence(await twoNodes({ REDIS_URL: valkey.url }))
})

it('with TLS', async () => {
  const redis = await startRedis({ tls: true })
  cleanups.push(redis.stop)
  const data = await postgresData()
  cleanups.push(data.drop)
  const settings = { ...data.settings, REDIS_URL: redis.url }
  const nodes = await Promise.all(
    [1, 2].map(() => startProcess(settings, [], { NODE_EXTRA_CA_CERTS: String(redis.caPath) })),
  )
  cleanups.push(() => Promise.all(nodes.map((node) => node.end('SIGTERM'))))
  await expectOnePresence(nodes)
})

it('as a Cluster of three masters, all keys in one slot', async () => {
  const cluster = await startCluster()
  cleanups.push(cluster.stop)
  const hosts = cluster.nodes.map(({ host, port }) => `${host}:${port}`).join(',')
  await expectOnePresence(await twoNodes({ REDIS_URL: `redis+cluster://${hosts}` }))
})

it('behind Sentinels, which put another master in the place of one that died: nobody who keeps a socket leaves', async () => {
  const master = await startRedis()
  cleanups.push(master.stop)
  const replica = await startRedis({ replicaOf: master })
  cleanups.push(replica.stop)
  const group = await startSentinel({ masterName: 'presence', master })
  cleanups.push(group.stop)
  const hosts = group.sentinels.map(({ host, port }) => `${host}:${port}`).join(',')
  const nodes = await twoNodes({ REDIS_URL: `redis+sentinel://${hosts}/presence` })
  await expectOnePresence(nodes)

  const [one, other] = nodes as [Node, Node]
  const staying = await openTab(one, 'staying')
  const watcher = await openTab(other, 'watcher', { observer: true })
  const changes = watcher.follow()
  await settled(watcher)
  await master.kill()
  // Each node finds the other master by itself.
  for (const node of nodes) {
    await until(async () => (await ids(node)).join() === 'staying', {
      withinMs: 20_000,
      what: 'the list from the other master',
    })
    // Reads can work before the lease does.
    await until(async () => (await fetch(`${node.url}/readyz`)).ok, { what: 'a node that is ready' })
  }
  const late = await openTab(one, `late-${randomUUID()}`)
  expect(await ids(other)).toHaveLength(2)
  await staying.ask('mutation { heartbeat { expiresAt } }')
  expect(changes.filter(({ kind }) => kind === 'LEAVE')).toEqual([])
  await late.close()
})

async function ids(node: Node): Promise<readonly string[]> {
  return onlineIds(node, 'dev:reader').catch(() => [])
}

it('is refused where it may throw keys away', async () => {
  const redis = await startRedis({ args: ['--maxmemory-policy', 'allkeys-lru'] })
  cleanups.push(redis.stop)
  const data = await postgresData()
  cleanups.push(data.drop)
  await expect(startProcess({ ...data.settings, REDIS_URL: redis.url })).rejects.toThrow(
    'set `maxmemory-policy noeviction`',
  )
})
