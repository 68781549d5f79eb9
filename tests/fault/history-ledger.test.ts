/**
 * The live state is lost again and again while people come and go: in the history each session that was acknowledged has
 * one row, one that goes on has no end, and the log says that records were lost only where they were.
 *
 * `LEDGER_LOSSES=20 npx vitest run tests/fault/history-ledger.test.ts` is the long form.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import postgres from 'postgres'
import { afterEach, expect, it } from 'vitest'
import { cleanupsAfterEach } from '../support/cleanup.ts'
import { closeTabs, openTab, type Tab } from '../support/clients.ts'
import { type RedisServer, startRedis } from '../support/redis.ts'
import { command } from '../support/redis-process.ts'
import { openTcpProxy } from '../support/tcp-proxy.ts'
import { until } from '../support/wait.ts'
import { createRandom } from './random.ts'
import { openWorld, type World } from './world.ts'

const LOSSES = Number(process.env.LEDGER_LOSSES ?? '2')
const STAYING = 10
const VISITORS = 12
const LONGEST_VISIT_MS = 300
const BETWEEN_LOSSES_MS = 1500
const LAG_MS = 300

const cleanups = cleanupsAfterEach()
afterEach(closeTabs)

/** What loses the state, or the last of it, each time it is called. */
const LOSSES_OF_STATE: Readonly<Record<string, (world: World) => () => Promise<void>>> = {
  FLUSHALL:
    ({ redis }) =>
    async () =>
      void (await command(redis, 'FLUSHALL')),
  'a restart without data':
    ({ redis }) =>
    async () => {
      await redis.kill()
      await redis.restart()
    },
  'a failover to a replica that lacks the last changes': ({ redis, nodes }) => {
    let master: RedisServer = redis
    return async () => {
      const lag = await openTcpProxy(master)
      cleanups.push(lag.close)
      const replica = await startRedis({ replicaOf: { ...master, port: lag.port } })
      cleanups.push(replica.stop)
      lag.fallSilent()
      await sleep(LAG_MS)
      await master.kill()
      await replica.promote()
      for (const { wire } of nodes) wire.retarget(replica.port)
      master = replica
    }
  },
}

it.each(Object.entries(LOSSES_OF_STATE))(
  'every session has its row after %s',
  { timeout: 60_000 + 12_000 * LOSSES },
  async (_how, losing) => {
    const world = await openWorld({
      nodeCount: 2,
      settings: { NODE_TTL: '2s', NODE_RENEW: '300ms', RECONNECT_GRACE: '1s', CLOSE_GRACE: '200ms' },
    })
    cleanups.push(() => world.close())
    const sql = postgres(world.databaseUrl, { max: 1, onnotice: () => {} })
    cleanups.push(() => sql.end())
    const random = createRandom(15)
    const nodeOf = (index: number) => world.nodes[index % world.nodes.length] as World['nodes'][number]

    const staying: Tab[] = []
    for (let index = 0; index < STAYING; index += 1) {
      staying.push(await openTab({ wsUrl: nodeOf(index).wsUrl() }, `stays-${index}`, { retryAttempts: 1000 }))
    }
    /** Session ids of visits that the server acknowledged. */
    const ledger: string[] = []
    let isOver = false
    const lose = losing(world)
    async function visit(index: number): Promise<void> {
      for (let count = 0; !isOver; count += 1) {
        const tab = await openTab({ wsUrl: nodeOf(index + count).wsUrl() }, `visitor-${index}-${count}`).catch(
          () => null,
        )
        if (tab !== null) ledger.push(tab.sessionId)
        await sleep(random.between(0, LONGEST_VISIT_MS))
        await tab?.close()
      }
    }
    const visits = Promise.all(Array.from({ length: VISITORS }, (_, index) => visit(index)))
    for (let count = 0; count < LOSSES; count += 1) {
      await sleep(BETWEEN_LOSSES_MS)
      await lose()
      const ready = async () =>
        (await Promise.all(world.nodes.map(async (node) => (await fetch(`${node.url()}/readyz`)).ok))).every(Boolean)
      await until(ready, { withinMs: 10_000, what: 'nodes that are ready again' })
    }
    await sleep(BETWEEN_LOSSES_MS)
    isOver = true
    await visits

    const rowsOf = (ids: readonly string[]) => sql<{ id: string; reasons: string[] }[]>`
    select client_session_id as id, array_agg(coalesce(end_reason, 'open')) as reasons from rollcall.presence_sessions
    where client_session_id in ${sql(ids)} group by 1`
    const visitsAreOver = async () =>
      (await rowsOf(ledger)).filter(({ reasons }) => !reasons.includes('open')).length >= ledger.length
    await until(visitsAreOver, { withinMs: 15_000, what: 'the ends of all visits' }).catch(() => {})
    const linesOfLoss = () =>
      world.nodes.flatMap(({ lines }) => lines).filter(({ msg }) => String(msg).startsWith('Records were lost'))
    const saidCount = () => linesOfLoss().reduce((sum, line) => sum + Number(line.unrecordedCount), 0)
    let rows = await rowsOf(ledger)
    const unrecordedCount = () => rows.filter(({ reasons }) => reasons.includes('UNRECORDED')).length
    // A repair guesses ends first, lets later records replace them, and counts what is left at its end.
    const isSaid = async () => {
      rows = await rowsOf(ledger)
      return saidCount() === unrecordedCount()
    }
    await until(isSaid, { withinMs: 15_000, everyMs: 100 }).catch(() => {})
    const known = new Set(rows.map(({ id }) => id))
    expect(ledger.filter((id) => !known.has(id))).toEqual([])
    expect(rows.filter(({ reasons }) => reasons.length !== 1 || reasons.includes('open'))).toEqual([])
    expect(await rowsOf(staying.map(({ sessionId }) => sessionId))).toEqual(
      expect.arrayContaining(staying.map(({ sessionId }) => ({ id: sessionId, reasons: ['open'] }))),
    )
    const said = linesOfLoss()
    expect(saidCount()).toBe(unrecordedCount())
    expect(said.filter(({ lostCount, unrecordedCount }) => lostCount === 0 && unrecordedCount === 0)).toEqual([])
    expect(ledger.length).toBeGreaterThan(LOSSES * VISITORS)
  },
)
