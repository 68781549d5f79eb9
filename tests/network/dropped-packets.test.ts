/**
 * Packets are lost between the server and its visitors. It differs from a stall in this: what was lost comes only when
 * TCP sends it again, which it does ever more seldom.
 *
 * `tests/network/run.sh` runs this.
 */
import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { setTimeout as pass } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { type Place, STORES, seenOf, untilSeenToJoin, untilSeenToLeave } from '../fault/stores.ts'
import { until } from '../support/wait.ts'
import {
  connectionsFrom,
  dropPackets,
  lastBytesFrom,
  passAllPackets,
  passPackets,
  SERVER_ADDRESS,
  startVisitors,
  VISITOR_ADDRESSES,
  type VisitorsProcess,
} from './namespaces.ts'

const COUNT = Number(process.env.VISITORS)
/** How long the server's kernel waits at most before it sends again; null where it is left as it is, 120 s. */
const RTO_MAX_MS = process.env.RTO_MAX_MS ? Number(process.env.RTO_MAX_MS) : null
/** They come within a cycle of pings. */
const ENTER_OVER_MS = 5000
const DROP_FROM_MS = [6000, 15_000] as const
const BACK_WITHIN_MS = 30_000
const [FOR_3_S, FOR_6_S, FOR_9_S, FOR_GOOD, BARE] = VISITOR_ADDRESSES as [string, string, string, string, string]
const DROPS = [
  { lengthMs: 3000, address: FOR_3_S },
  { lengthMs: 6000, address: FOR_6_S },
  { lengthMs: 9000, address: FOR_9_S },
]

let visitors: VisitorsProcess
beforeAll(() => {
  visitors = startVisitors()
})
afterEach(passAllPackets)
afterAll(() => visitors.end())

describe.each(STORES)('$name', ({ name: storeName, open }) => {
  let place: Place
  beforeAll(async () => {
    place = await open({ HOST: '0.0.0.0' })
  })
  afterAll(() => place.close())

  it(`loses the packets of ${COUNT} visitors for 3, 6 and 9 s, and for good`, async () => {
    const nameOf = (what: string | number) => `${what}-${place.processes.length}`
    const groups = await Promise.all(
      [...DROPS, { lengthMs: Number.POSITIVE_INFINITY, address: FOR_GOOD }].map(async ({ lengthMs, address }) => {
        const ports = await enter(nameOf(lengthMs), address)
        return { lengthMs, address, ports, ids: Object.keys(ports) }
      }),
    )
    await untilSeenToJoin(
      place,
      groups.flatMap(({ ids }) => ids),
    )

    await Promise.all(
      groups.map(async (group) => {
        await pass(DROP_FROM_MS[0] + Math.random() * (DROP_FROM_MS[1] - DROP_FROM_MS[0]))
        dropPackets(group.address)
        if (group.address === FOR_GOOD) return await expectOffline(group)
        await pass(group.lengthMs)
        passPackets(group.address)
      }),
    )

    for (const { lengthMs } of DROPS) {
      const group = nameOf(lengthMs)
      const { wrong, lost } = await untilBack(group)
      const seen = seenOf(place, groups.find((one) => one.lengthMs === lengthMs)?.ids ?? [])
      const leaves = seen.filter((sentence) => sentence.startsWith('watcher-0: LEAVE'))
      report(`packets dropped for ${lengthMs} ms: ${leaves.length} of ${COUNT} LEAVE, ${lost.length} sockets lost`)
      expect(wrong).toEqual([])
      // After 3 and some 7 s TCP sends a lost ping again only after 13 s: too late for PONG_TIMEOUT.
      if (lengthMs < 9000 || RTO_MAX_MS !== null) expect([seen, lost]).toEqual([[], []])
    }
  })

  async function enter(group: string, address: string): Promise<Readonly<Record<string, number>>> {
    const shares = await Promise.all(
      place.processes.map(({ url }, index) =>
        visitors.ask({
          name: 'enter',
          group: `${group}-at-${index}`,
          address,
          url: `http://${SERVER_ADDRESS}:${new URL(url).port}/graphql`,
          count: Math.ceil((COUNT - index) / place.processes.length),
          overMs: ENTER_OVER_MS,
        }),
      ),
    )
    return Object.assign({}, ...shares.map(({ ports }) => ports))
  }

  /** Counted from the last byte of each that came, as the server's kernel knows it. */
  async function expectOffline({
    address,
    ports,
    ids,
  }: {
    readonly address: string
    readonly ports: Readonly<Record<string, number>>
    readonly ids: readonly string[]
  }): Promise<void> {
    const lastByteAtMs = lastBytesFrom(address)
    const leaves = await untilSeenToLeave(place, ids)
    const afterMs = leaves.map(({ userId, atMs }) => Math.round(atMs - Number(lastByteAtMs.get(Number(ports[userId])))))
    const [least, most] = [Math.min(...afterMs), Math.max(...afterMs)]
    report(`packets dropped for good: ${leaves.length} LEAVE, ${least} to ${most} ms after the last byte`)
    expect(leaves.length).toBe(COUNT * place.watchers.length)
    expect(least).toBeGreaterThanOrEqual(15_000)
    expect(most).toBeLessThanOrEqual(16_000)
  }

  async function untilBack(group: string) {
    const states = () =>
      Promise.all(place.processes.map((_, index) => visitors.ask({ name: 'state', group: `${group}-at-${index}` })))
    const found = await until(
      async () => {
        const now = await states()
        return now.every(({ wrong }) => wrong.length === 0) ? now : null
      },
      { withinMs: BACK_WITHIN_MS, everyMs: 500, what: `everybody of ${group} on a socket of their own` },
    )
    return { wrong: found.flatMap(({ wrong }) => wrong), lost: found.flatMap(({ lost }) => lost) }
  }

  function report(line: string): void {
    process.stdout.write(`${storeName}: ${line}\n`)
  }
})

it('TCP sends a lost packet again, and waits twice as long each time', async () => {
  const sockets: Socket[] = []
  const listener = createServer((socket) => {
    socket.on('error', () => {})
    sockets.push(socket)
  })
  listener.listen(0, SERVER_ADDRESS)
  await once(listener, 'listening')
  const { port } = listener.address() as AddressInfo
  await visitors.ask({ name: 'connect', address: BARE, host: SERVER_ADDRESS, port })
  const socket = await until(() => sockets[0])

  dropPackets(BARE)
  socket.write('a ping')
  const sentAtMs = performance.now()
  const resentAfterMs: number[] = []
  await until(
    () => {
      const resentCount = connectionsFrom(BARE)[0]?.resentCount ?? 0
      while (resentAfterMs.length < resentCount) resentAfterMs.push(Math.round(performance.now() - sentAtMs))
      return resentCount >= 7
    },
    { withinMs: 30_000, what: 'the seventh time' },
  )
  socket.destroy()
  listener.close()

  process.stdout.write(`a lost packet was sent again after ${resentAfterMs.join(', ')} ms\n`)
  const gaps = resentAfterMs.map((ms, index) => ms - (resentAfterMs[index - 1] ?? 0))
  const longest = RTO_MAX_MS ?? 6400
  expect(gaps.at(-1)).toBeGreaterThan(longest * 0.9)
  expect(gaps.at(-1)).toBeLessThan(longest * 1.5)
})
