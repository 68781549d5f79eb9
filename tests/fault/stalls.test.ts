/**
 * The network stalls: a proxy holds back what is sent, in one way or both, and passes it on later. Nobody sees anything
 * of it up to 9 s, wherever in the cycle of pings it begins. Who is switched off is offline within 16 s.
 *
 * All settings are the defaults.
 * `STALL_VISITORS=200 npx vitest run tests/fault/stalls.test.ts` is the long form: so many for each length, so many deaf,
 * and so many switched off. On a small machine one after the other, by `-t 'a stall'`, `-t deaf` and `-t off`.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, it } from 'vitest'
import { openTcpProxy, type TcpProxy, type Way } from '../support/tcp-proxy.ts'
import { until } from '../support/wait.ts'
import { untilConnected, wrongSockets } from './people.ts'
import type { Visitor } from './person.ts'
import { type Place, STORES, seenOf, untilSeenToJoin, untilSeenToLeave } from './stores.ts'
import { idsOf, lossesOf, type OpenVisitor, openExampleVisitor, openStockVisitor } from './visitors.ts'

const ASKED_COUNT = process.env.STALL_VISITORS
const WAYS: readonly (readonly Way[])[] = [['up', 'down'], ['up'], ['down']]
const LENGTHS_MS = [3000, 6000, 9000]
/** With graphql-ws as it is, for each length and way. */
const STOCK_COUNT = Math.ceil(Number(ASKED_COUNT ?? '6') / WAYS.length)
/** With the client of our example, for each length and way. */
const EXAMPLE_COUNT = ASKED_COUNT === undefined ? 1 : 10
const DEAF_COUNT = Number(ASKED_COUNT ?? '10')
/** For each way. */
const SWITCHED_OFF_COUNT = Math.ceil(Number(ASKED_COUNT ?? '12') / WAYS.length)

/** They come within a cycle of pings, so that a stall finds each somewhere else in its own. */
const ENTER_OVER_MS = 5000
/** Stalls begin here after the last has come: some of them hold back the pings to pages that were quiet for 20 s. */
const STALL_FROM_MS = [6000, 15_000] as const
/** PING_INTERVAL + PONG_TIMEOUT and RECONNECT_GRACE, both 15 s, and one sweep. */
const OFFLINE_FROM_MS = 15_000
const OFFLINE_WITHIN_MS = 16_000
/** The first retry of a graphql-ws client comes within 4 s, the next within 5 s more. */
const BACK_WITHIN_MS = 15_000

/** Visitors behind one proxy. */
interface Group {
  readonly proxy: TcpProxy
  readonly visitors: readonly Visitor[]
}

describe.concurrent.each(STORES)('$name', { timeout: 180_000 }, ({ name: storeName, open }) => {
  let place: Place
  const groups: Group[] = []

  beforeAll(async () => {
    place = await open()
  }, 120_000)

  afterAll(async () => {
    // A client that is just connecting waits for the end of that before it closes.
    for (const { proxy } of groups) proxy.release()
    await Promise.all(groups.flatMap(({ visitors }) => visitors.map((visitor) => visitor.close())))
    await Promise.all(groups.map(({ proxy }) => proxy.close()))
    await place.close()
  })

  it('a stall of 3, 6 or 9 s, in one way or both, is seen by nobody', async ({ expect }) => {
    const stalls = LENGTHS_MS.flatMap((lengthMs) =>
      WAYS.map((ways) => ({ lengthMs, ways, fromMs: between(STALL_FROM_MS), heldMs: 0, groups: [] as Group[] })),
    )
    await Promise.all(
      stalls.map(async (stall) => {
        const name = `${stall.lengthMs}-${stall.ways.join('-')}`
        stall.groups.push(
          ...(await openGroups(name, openStockVisitor, STOCK_COUNT)),
          ...(await openGroups(`${name}-example`, openExampleVisitor, EXAMPLE_COUNT)),
        )
      }),
    )
    const visitors = stalls.flatMap((stall) => visitorsOf(stall.groups))
    await untilIn(visitors)

    await Promise.all(
      stalls.map(async (stall) => {
        await sleep(stall.fromMs)
        const heldFromMs = performance.now()
        for (const { proxy } of stall.groups) proxy.hold(stall.ways)
        await sleep(stall.lengthMs)
        for (const { proxy } of stall.groups) proxy.release()
        stall.heldMs = performance.now() - heldFromMs
      }),
    )

    await untilAttached(visitors)
    // As they were: a busy machine makes them longer.
    const stallsWere = stalls.map(
      ({ heldMs, ways, fromMs }) => `${Math.round(heldMs)} ms ${ways} from ${Math.round(fromMs)} ms`,
    )
    expect(seenOf(place, idsOf(visitors)), stallsWere.join('; ')).toEqual([])
    expect(lossesOf(visitors), stallsWere.join('; ')).toEqual([])
    const longestMs = Math.round(Math.max(...stalls.map(({ heldMs }) => heldMs)))
    report(`${visitors.length} visitors, stalls of up to ${longestMs} ms: 0 changes seen, 0 sockets lost`)
  })

  it('who was deaf for 12 s, and gave up the connection, comes back unseen', async ({ expect }) => {
    const deaf = await openGroups('deaf', openExampleVisitor, DEAF_COUNT)
    const visitors = visitorsOf(deaf)
    await untilIn(visitors)
    await sleep(ENTER_OVER_MS)

    for (const { proxy } of deaf) proxy.hold(['down'])
    await sleep(12_000)
    for (const { proxy } of deaf) proxy.release()

    await untilAttached(visitors)
    expect(seenOf(place, idsOf(visitors))).toEqual([])
    const losses = lossesOf(visitors)
    expect(losses.filter((loss) => loss.includes('4499')).length).toBeGreaterThan(0)
    report(`${visitors.length} visitors deaf for 12 s: ${losses.length} sockets lost, 0 changes seen`)
  })

  it.for(WAYS.map((ways) => ({ ways, waysSaid: ways.join(' and ') })))(
    'who is switched off ($waysSaid) is offline within 16 s, and not before 15 s',
    async ({ ways }, { expect }) => {
      // Each behind a proxy of its own, which knows when it last said something.
      const off = await Promise.all(
        Array.from({ length: SWITCHED_OFF_COUNT }, (_, index) =>
          openGroup(`off-${ways.join('-')}-${index}`, index, openStockVisitor, 1),
        ),
      )
      const ids = idsOf(visitorsOf(off))
      await untilIn(visitorsOf(off))
      await sleep(ENTER_OVER_MS)

      for (const { proxy } of off) proxy.hold(ways)
      const leaves = await untilSeenToLeave(place, ids)

      const lastByteAtMs = new Map(off.map(({ proxy }, index) => [ids[index], proxy.lastPassedUpAtMs()]))
      const afterMs = leaves.map(({ userId, atMs }) => Math.round(atMs - Number(lastByteAtMs.get(userId))))
      expect(afterMs.length).toBe(off.length * place.watchers.length)
      expect(Math.min(...afterMs)).toBeGreaterThanOrEqual(OFFLINE_FROM_MS)
      expect(Math.max(...afterMs)).toBeLessThanOrEqual(OFFLINE_WITHIN_MS)
      const span = `${Math.min(...afterMs)} to ${Math.max(...afterMs)} ms after their last byte`
      report(`${off.length} visitors switched off (${ways}): offline ${span}`)
    },
  )

  /** @returns a group at each process, with its share of them */
  async function openGroups(name: string, openVisitor: OpenVisitor, count: number): Promise<readonly Group[]> {
    const processCount = place.processes.length
    return Promise.all(
      place.processes.map((_, index) =>
        openGroup(`${name}-${index}`, index, openVisitor, Math.ceil((count - index) / processCount)),
      ),
    )
  }

  async function openGroup(name: string, index: number, openVisitor: OpenVisitor, count: number): Promise<Group> {
    const process = place.processes[index % place.processes.length]
    const proxy = await openTcpProxy({ host: '127.0.0.1', port: Number(new URL(String(process?.url)).port) })
    const visitors: Visitor[] = []
    const group = { proxy, visitors }
    groups.push(group)
    await Promise.all(
      Array.from({ length: count }, async (_, number) => {
        await sleep(((number + Math.random()) / count) * ENTER_OVER_MS)
        visitors.push(openVisitor(`${name}-${number}`, `http://127.0.0.1:${proxy.port}/graphql`))
      }),
    )
    return group
  }

  async function untilIn(visitors: readonly Visitor[]): Promise<void> {
    await untilConnected(visitors, 60_000)
    await untilSeenToJoin(place, idsOf(visitors))
  }

  /** Until each has a socket that its own session hangs on: nothing is pending that could still take it offline. */
  async function untilAttached(visitors: readonly Visitor[]): Promise<void> {
    await until(async () => (await wrongSockets(visitors, () => [])).length === 0, {
      withinMs: BACK_WITHIN_MS,
      everyMs: 200,
      what: 'everybody on a socket of their own',
    })
  }

  function report(line: string): void {
    process.stdout.write(`${storeName}: ${line}\n`)
  }
})

function visitorsOf(groups: readonly Group[]): readonly Visitor[] {
  return groups.flatMap(({ visitors }) => visitors)
}

function between([least, most]: readonly [number, number]): number {
  return least + Math.random() * (most - least)
}
