/** A deploy: each of three nodes stops and starts again, and whoever looks on sees nothing of it. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { ClientOptions } from 'graphql-ws'
import postgres from 'postgres'
import { afterEach, beforeAll, expect, it } from 'vitest'
import { renewAfter } from '../../examples/renew-after.ts'
import { cleanupsAfterEach } from '../support/cleanup.ts'
import { type Answer, closeTabs, openTab, post } from '../support/clients.ts'
import { freePort } from '../support/free-port.ts'
import { installLoadBalancer, type LoadBalancer, startLoadBalancer } from '../support/load-balancer.ts'
import { startProcess } from '../support/process.ts'
import { redisData, type TestData } from '../support/server.ts'
import { until } from '../support/wait.ts'

const HOST = '127.0.0.1'
const TAB_COUNT = 100
const REQUEST_EVERY_MS = 50
const RETRY_AFTER_MS = 1000
/** The first wait of a stock client, and where that leads to a node which is just stopping, the second: 4 s and 5 s. */
const GRACE_MS = 10_000
const SETTINGS = {
  DRAIN_TIME: '2s',
  RECONNECT_GRACE: `${GRACE_MS}ms`,
  HEARTBEAT_INTERVAL: '1s',
  // Who beats over HTTP once is there to the end: a guest is one JOIN, and no LEAVE.
  SESSION_TTL: '2m',
}

const cleanups = cleanupsAfterEach()

beforeAll(() => installLoadBalancer(), 300_000)

// The hooks that came last go first: no tab is left when its server stops.
afterEach(closeTabs)

it('a rolling restart of three nodes takes nobody offline, fails no request for longer than a second, and loses no change', async () => {
  const data = await redisData()
  cleanups.push(data.drop)
  const ports = [await freePort(HOST), await freePort(HOST), await freePort(HOST)]
  const lines: Record<string, unknown>[] = []
  const start = (port: number) => startProcess({ ...SETTINGS, ...data.settings, PORT: String(port) }, lines)
  const nodes = await Promise.all(ports.map(start))
  cleanups.push(() => Promise.all(nodes.map((node) => node.end('SIGKILL'))))
  const front = await startLoadBalancer(nodes.map(({ url }) => url) as [string, string, string])
  cleanups.push(front.stop)

  const userIds = Array.from({ length: TAB_COUNT }, (_, index) => `tab-${index}`)
  const tabs = await Promise.all(userIds.map((userId) => openReturning(front, userId, { retryWait: stockWait })))
  const onlineSince = await readOnlineSince(front)
  const watchers = [await openWatcher(front, 'watcher-1'), await openWatcher(front, 'watcher-2')]
  const load = startLoad(front)
  cleanups.push(load.stop)

  const exitCodes: (number | null)[] = []
  for (const [index, node] of nodes.entries()) {
    exitCodes.push(await node.end('SIGTERM'))
    nodes[index] = await start(ports[index] as number)
    // As docs/operations.md says: who was refused by this node does not meet the next one that stops.
    await until(() => [...tabs, ...watchers].every(({ isAway }) => !isAway()), {
      withinMs: GRACE_MS,
      what: 'the comeback of everybody',
    })
  }
  // By then a grace that a comeback did not end would be over.
  await sleep(GRACE_MS + 500)
  await load.stop()
  const onlineSinceAfter = await readOnlineSince(front)
  const online = [...onlineSinceAfter.keys()].sort()
  for (const { picture } of watchers) {
    await until(() => picture.size >= online.length, { what: 'the last JOIN' }).catch(() => {})
  }

  const awayMs = tabs.flatMap((tab) => tab.awayMs)
  const refusals = tabs.flatMap((tab) => tab.refusals)
  console.log(
    `${awayMs.length} comebacks, the longest after ${Math.round(Math.max(...awayMs))} ms, ${refusals.length} refused ` +
      `at first; ${load.requestCount()} requests, ${load.retried.length} of them sent twice.`,
  )
  const complaints = lines.filter(({ level }) => Number(level) >= 40).map((line) => JSON.stringify(line))
  const told = [...load.retried, ...refusals, front.output(), ...complaints].join('\n')
  expect(exitCodes, told).toEqual([0, 0, 0])
  expect(load.failures, told).toEqual([])
  expect(Math.max(...awayMs), told).toBeLessThan(GRACE_MS)
  // Each was on a node, and each node was restarted.
  expect(Math.min(...tabs.map((tab) => tab.awayMs.length))).toBeGreaterThan(0)

  expect(online, told).toEqual([...userIds, ...load.callers, ...load.guests].sort())
  // A LEAVE and a JOIN while both watchers were away would be nothing to them, but not to this.
  for (const userId of userIds) expect(onlineSinceAfter.get(userId), told).toBe(onlineSince.get(userId))
  for (const { changes, picture, errors } of watchers) {
    expect(errors, told).toEqual([])
    expect(changes.filter((change) => change.startsWith('LEAVE'))).toEqual([])
    // Each guest once, whatever the watcher missed meanwhile, and no tab.
    expect(changes.filter((change) => change.startsWith('JOIN')).sort(), told).toEqual(
      [...load.callers, ...load.guests].map((userId) => `JOIN ${userId}`).sort(),
    )
    expect([...picture].sort(), told).toEqual(online)
  }
  // The database has it too: each tab is one session, which goes on.
  expect(await readSessions(data)).toEqual(userIds.map((userId) => `${userId} open`).sort())
  // A deploy is no fault, and nobody has to look.
  const faults = lines.filter(({ level }) => Number(level) >= 50)
  expect(faults).toEqual([])
})

/** A tab that comes back through the load balancer. */
async function openReturning(front: LoadBalancer, userId: string, options: Partial<ClientOptions>, isObserver = false) {
  /** How long each absence was. */
  const awayMs: number[] = []
  /** Attempts to come back that came to nothing. */
  const refusals: string[] = []
  let lostAtMs: number | null = null
  const { client } = await openTab(front, userId, {
    observer: isObserver,
    retryAttempts: Number.POSITIVE_INFINITY,
    options,
  })
  cleanups.push(async () => void (await client.dispose()))
  client.on('closed', (event) => {
    if (lostAtMs !== null) refusals.push(`${userId}: ${described(event)}`)
    lostAtMs ??= performance.now()
  })
  client.on('connected', () => {
    if (lostAtMs !== null) awayMs.push(performance.now() - lostAtMs)
    lostAtMs = null
  })
  return { client, awayMs, refusals, isAway: () => lostAtMs !== null }
}

/** The default of graphql-ws: 1.3 to 4 s at first, then longer. */
async function stockWait(retryCount: number): Promise<void> {
  await sleep(1000 * 2 ** retryCount + 300 + Math.random() * 2700)
}

/** Reads the list, and follows it by the few lines that the README shows. Comes back soon, to miss little. */
async function openWatcher(front: LoadBalancer, userId: string) {
  const { client, isAway } = await openReturning(front, userId, {}, true)
  /** `JOIN alice` */
  const changes: string[] = []
  const errors: unknown[] = []
  const { data } = await post(front, 'dev:reader', '{ onlineUsers(first: 1000) { position nodes { id } } }')
  const picture = new Set<string>(data?.onlineUsers.nodes.map(({ id }: { id: string }) => id))
  renewAfter(client).subscribe<{ presenceChanged: { kind: string; user: { id: string } } }>(
    {
      query: 'subscription ($after: String) { presenceChanged(after: $after) { kind position user { id } } }',
      variables: { after: data?.onlineUsers.position },
    },
    {
      next({ data: answer }) {
        if (!answer) return
        const { kind, user } = answer.presenceChanged
        changes.push(`${kind} ${user.id}`)
        if (kind === 'LEAVE') picture.delete(user.id)
        else picture.add(user.id)
      },
      error: (error) => errors.push(error),
      complete: () => errors.push('The subscription was completed.'),
    },
  )
  return { isAway, changes, errors, picture }
}

async function readOnlineSince(front: LoadBalancer): Promise<ReadonlyMap<string, string>> {
  const { data } = await post(front, 'dev:reader', '{ onlineUsers(first: 1000) { nodes { id onlineSince } } }')
  return new Map(
    data?.onlineUsers.nodes.map((user: { id: string; onlineSince: string }) => [user.id, user.onlineSince]),
  )
}

async function readSessions(data: TestData): Promise<readonly string[]> {
  const sql = postgres(String(data.settings.DATABASE_URL), { max: 1 })
  const rows = await sql`select user_id, ended_at from rollcall.presence_sessions where user_id like 'tab-%'`
  await sql.end()
  return rows.map((row) => `${row.user_id} ${row.ended_at === null ? 'open' : 'ended'}`).sort()
}

/** Heartbeats of some who stay and of guests who come, and the list, over HTTP; what fails is sent once more. */
function startLoad(front: LoadBalancer) {
  const callers = ['caller-0', 'caller-1', 'caller-2', 'caller-3']
  const guests: string[] = []
  const retried: string[] = []
  const failures: string[] = []
  const pending = new Set<Promise<void>>()
  let requestCount = 0
  let step = 0

  async function send(token: string, query: string): Promise<void> {
    requestCount += 1
    const first = await problemOf(front, token, query)
    if (first === null) return
    retried.push(`${query}: ${first}`)
    await sleep(RETRY_AFTER_MS)
    const second = await problemOf(front, token, query)
    if (second !== null) failures.push(`${query}: ${first}, then ${second}`)
  }

  /** Of ten: the list five times, a heartbeat of each who stays, and of one more guest. */
  function next(): Promise<void> {
    const turn = step % 10
    step += 1
    if (turn % 2 === 0) return send('dev:reader', '{ onlineUsers { totalCount nodes { id status } } }')
    const userId = callers[(turn - 1) / 2] ?? `guest-${guests.length}`
    if (turn === 9) guests.push(userId)
    return send(`dev:${userId}`, 'mutation { heartbeat { expiresAt } }')
  }

  const timer = setInterval(() => {
    const sent = next().finally(() => pending.delete(sent))
    pending.add(sent)
  }, REQUEST_EVERY_MS)

  return {
    callers,
    retried,
    failures,
    guests,
    requestCount: () => requestCount,
    async stop() {
      clearInterval(timer)
      await Promise.all(pending)
    },
  }
}

/** @returns why it was not answered well, or null */
async function problemOf(front: LoadBalancer, token: string, query: string): Promise<string | null> {
  try {
    const answer: Answer & { readonly status: number } = await post(front, token, query)
    if (answer.status === 200 && answer.errors === undefined) return null
    return `${answer.status} ${JSON.stringify(answer.errors)}`
  } catch (error) {
    return described(error)
  }
}

function described(event: unknown): string {
  const { code, reason, message, cause } = event as Record<string, unknown>
  return [code, reason, message, cause].filter((part) => part !== undefined && part !== '').join(' ')
}
