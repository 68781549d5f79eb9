/**
 * Everybody comes at once, while three nodes hold their leases: none is lost, and no renewal waits behind the storm.
 *
 * `FAULT_SOCKETS=20000 npx vitest run tests/fault/storm.test.ts` is the long form.
 */
import { execFileSync } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { Redis } from 'ioredis'
import postgres from 'postgres'
import { expect, it } from 'vitest'
import { SETTINGS, type SettingName } from '../../src/config.ts'
import { cleanupsAfterEach } from '../support/cleanup.ts'
import { until } from '../support/wait.ts'
import { startClients } from './crowd.ts'
import { askOverHttp, untilConnected } from './people.ts'
import { createPerson } from './person.ts'
import type { StormOrder, StormState } from './storm-clients.ts'
import { watch } from './watcher.ts'
import { type Node, openWorld } from './world.ts'

const SOCKETS = Number(process.env.FAULT_SOCKETS ?? '1500')
/** Two cores take some 500 a second, clients included. */
const STORM_MS = 20_000 + SOCKETS * 8
/** Far below what a process may open, and each needs files of its own. */
const SOCKETS_A_PROCESS = 7000
/** Lives as long as in production: how long a renewal may wait is a part of them. */
const AS_IN_PRODUCTION = [
  'NODE_TTL',
  'NODE_RENEW',
  'SWEEP_INTERVAL',
  'PING_INTERVAL',
  'PONG_TIMEOUT',
  'RECONNECT_GRACE',
] as const satisfies readonly SettingName[]
const TTL_MS = 10_000
/** lossesKeptMs of src/stores/redis/scripts.ts: each renewal lets what the node lost be kept for so long again. */
const LOSS_RETENTION_MS = 24 * 3_600_000

const cleanups = cleanupsAfterEach()

it(`${SOCKETS} sockets that come at once cost no node its lease, and make no renewal late`, {
  timeout: STORM_MS + 90_000,
}, async () => {
  const settings = Object.fromEntries(AS_IN_PRODUCTION.map((name) => [name, SETTINGS[name].default]))
  const world = await openWorld({ settings })
  cleanups.push(world.close)
  const { nodes } = world
  await markRenewals(nodes)
  const leases = watchLeases(world.redis.url, `{rollcall:${world.app}}`)
  cleanups.push(leases.stop)
  const [node] = nodes as [Node]
  const watcher = watch('everyone', () => ({ url: node.url(), wsUrl: node.wsUrl() }))
  cleanups.push(watcher.stop)
  const knownCount = await until(async () => watcher.picture().size || null)

  const states: StormState[] = []
  const processCount = Math.ceil(SOCKETS / SOCKETS_A_PROCESS)
  const children = await Promise.all(Array.from({ length: processCount }, () => startClients(cleanups)))
  const startedAtMs = performance.now()
  for (const [index, child] of children.entries()) {
    const from = Math.floor((SOCKETS * index) / processCount)
    const to = Math.floor((SOCKETS * (index + 1)) / processCount)
    child.on('message', (state: StormState) => {
      states[index] = state
    })
    child.send({ wsUrls: nodes.map((one) => one.wsUrl()), from, count: to - from } satisfies StormOrder)
  }
  const acknowledged = () => states.reduce((sum, { acknowledgedCount }) => sum + acknowledgedCount, 0)
  const report = () =>
    [
      `${acknowledged()} of ${SOCKETS} acknowledged; ${JSON.stringify(states.map(({ failures }) => failures))}`,
      `leases: ${JSON.stringify(leases.worst())}`,
      ...nodes.flatMap(({ lines, wsUrl }) =>
        lines
          .slice(-8)
          .map(({ msg, time, said, error }) => `${wsUrl()} ${time} ${msg} ${JSON.stringify(said ?? error) ?? ''}`),
      ),
    ].join('\n')
  await until(() => acknowledged() === SOCKETS, { withinMs: STORM_MS, what: 'the acknowledgement of all' }).catch(
    (error) => {
      throw new Error(`${error.message}\n${report()}`)
    },
  )
  const acknowledgedMs = performance.now() - startedAtMs
  await until(() => watcher.picture().size === SOCKETS + knownCount, {
    withinMs: STORM_MS,
    what: `${SOCKETS} JOINs, and not ${watcher.picture().size}`,
  }).catch((error) => {
    throw new Error(`${error.message}\n${report()}`)
  })
  const seenMs = performance.now() - startedAtMs
  // By then a lease that was lost in the storm would have been found.
  await sleep(TTL_MS / 2)
  const count = await askOverHttp(node, 'reader', '{ onlineCount }')
  const { samples, oldestRenewalMs, oldestAtMs, leastLeaseMs } = leases.worst()
  process.stdout.write(
    `${limits()} files a process may open; ${SOCKETS} acknowledged within ${Math.round(acknowledgedMs)} ms, seen within ` +
      `${Math.round(seenMs)} ms; the oldest renewal was ${oldestRenewalMs} ms old (at ${Math.round(oldestAtMs - startedAtMs)} ms), the shortest lease had ${leastLeaseMs} ms ` +
      `left (${samples} looks); failures ${JSON.stringify(states.map(({ failures }) => failures))}\n`,
  )

  expect(count?.data, report()).toEqual({ onlineCount: SOCKETS + knownCount })
  expect(samples).toBeGreaterThan(acknowledgedMs / 500)
  expect(oldestRenewalMs, report()).toBeLessThan(TTL_MS / 2)
  expect(leastLeaseMs, report()).toBeGreaterThan(TTL_MS / 2)
  expect(watcher.changes.filter(({ kind }) => kind === 'LEAVE').length, report()).toBe(0)
  expect(await endedSessions(world.databaseUrl)).toEqual([])
})

/** A session that moves from socket to socket on each node: what a node has lost is kept anew by each renewal. */
async function markRenewals(nodes: readonly Node[]): Promise<void> {
  for (const [index, node] of nodes.entries()) {
    const first = createPerson({ id: `mark-${index}`, at: () => node.wsUrl() })
    cleanups.push(first.close)
    await untilConnected([first])
    const second = createPerson({ id: `mark-${index}`, sessionId: first.sessionId, at: () => node.wsUrl() })
    cleanups.push(second.close)
    await untilConnected([second])
  }
}

/** Looks again and again how old each node's last renewal is, and how long its lease lasts, by Redis' own clock. */
function watchLeases(url: string, root: string) {
  const redis = new Redis(url)
  const worst = { samples: 0, oldestRenewalMs: 0, oldestAtMs: 0, leastLeaseMs: Number.POSITIVE_INFINITY }
  let isOver = false
  const looking = (async () => {
    while (!isOver) {
      for (const [leftMs, keptMs] of (await redis.eval(LOOK, 1, root)) as [number, number][]) {
        worst.leastLeaseMs = Math.min(worst.leastLeaseMs, leftMs)
        const ageMs = LOSS_RETENTION_MS - keptMs
        if (ageMs <= worst.oldestRenewalMs) continue
        worst.oldestRenewalMs = ageMs
        worst.oldestAtMs = performance.now()
      }
      worst.samples += 1
      await sleep(50)
    }
  })()
  return {
    worst: () => worst,
    async stop() {
      isOver = true
      await looking
      redis.disconnect()
    },
  }
}

const LOOK = `
local time = redis.call('TIME')
local nowMs = time[1] * 1000 + math.floor(time[2] / 1000)
local found = {}
local nodes = redis.call('ZRANGE', KEYS[1] .. ':nodes', 0, -1, 'WITHSCORES')
for index = 1, #nodes, 2 do
  local keptMs = redis.call('PTTL', KEYS[1] .. ':loss-count:' .. nodes[index])
  found[#found + 1] = { tonumber(nodes[index + 1]) - nowMs, keptMs }
end
return found`

/** Once the database has every session: those that ended. */
async function endedSessions(databaseUrl: string): Promise<readonly unknown[]> {
  const sql = postgres(databaseUrl, { max: 1 })
  try {
    const recorded = async () => Number((await sql`select count(*) from rollcall.presence_sessions`)[0]?.count)
    await until(async () => (await recorded()) >= SOCKETS, { withinMs: 60_000, everyMs: 100, what: 'all records' })
    return [
      ...(await sql`select user_id, end_reason from rollcall.presence_sessions where ended_at is not null limit 10`),
    ]
  } finally {
    await sql.end()
  }
}

function limits(): string {
  return execFileSync('sh', ['-c', 'ulimit -n'], { encoding: 'utf8' }).trim()
}
