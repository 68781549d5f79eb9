/**
 * Packets are lost between the server and its visitors. It differs from a stall in this: what was lost comes only when
 * TCP sends it again, which it does ever more seldom.
 *
 * `tests/network/run.sh` runs this.
 */
import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
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
import { systemMs } from './system-clock.ts'
import type { Entered } from './visitors-process.ts'

const COUNT = Number(process.env.VISITORS)
/** How long the server's kernel waits at most before it sends again; null where it is left as it is, 120 s. */
const RTO_MAX_MS = process.env.RTO_MAX_MS ? Number(process.env.RTO_MAX_MS) : null
/** They come within a cycle of pings. */
const ENTER_OVER_MS = 5000
const DROP_FROM_MS = [6000, 15_000] as const
const BACK_WITHIN_MS = 30_000
/** PAGE_PING_INTERVAL + PAGE_PONG_TIMEOUT, after a visitor's last message. */
const PAGE_SILENT_MS = 30_000
const [FOR_3_S, FOR_6_S, FOR_9_S, FOR_GOOD, BARE] = VISITOR_ADDRESSES as [string, string, string, string, string]
/** `lengthMs` null: for good. */
const DROPS: readonly { readonly lengthMs: number | null; readonly address: string }[] = [
  { lengthMs: 3000, address: FOR_3_S },
  { lengthMs: 6000, address: FOR_6_S },
  { lengthMs: 9000, address: FOR_9_S },
  { lengthMs: null, address: FOR_GOOD },
]

interface Group {
  readonly lengthMs: number | null
  readonly address: string
  readonly names: readonly string[]
  readonly ports: Entered['ports']
  readonly acknowledgedAtMs: Entered['acknowledgedAtMs']
}

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
    const groups = await Promise.all(DROPS.map(enter))
    await untilSeenToJoin(
      place,
      groups.flatMap(({ ports }) => Object.keys(ports)),
    )

    const outcomes = await Promise.all(
      groups.map(async (group) => {
        if (group.lengthMs === null) {
          dropPackets(group.address)
          return { group, offline: await offlineOf(group) }
        }
        const [from, to] = DROP_FROM_MS
        await sleep(from + Math.random() * (to - from))
        dropPackets(group.address)
        await sleep(group.lengthMs)
        passPackets(group.address)
        await untilHeardOrLost(group, performance.now())
        const { lost } = await untilBack(group)
        const seen = seenOf(place, Object.keys(group.ports))
        const leaves = seen.filter((sentence) => sentence.startsWith('watcher-0: LEAVE'))
        report(`dropped for ${group.lengthMs} ms: ${leaves.length} of ${COUNT} LEAVE, ${lost.length} sockets lost`)
        return { group, lost, seen }
      }),
    )

    for (const { group, lost, seen, offline } of outcomes) {
      // After 6.8 s TCP sends a lost ping again only after 13.5 s, which is too late for PONG_TIMEOUT.
      if (lost !== undefined && (Number(group.lengthMs) < 9000 || RTO_MAX_MS !== null)) {
        expect([seen, lost]).toEqual([[], []])
      }
      if (offline === undefined) continue
      expect(offline.count).toBe(COUNT * place.watchers.length)
      expect(offline.tooEarly).toEqual([])
      expect(offline.toMs).toBeLessThanOrEqual(16_000 + offline.withinMs)
    }
  })

  /** Their shares at each process. */
  async function enter({ lengthMs, address }: (typeof DROPS)[number]): Promise<Group> {
    const names = place.processes.map((_, index) => `${lengthMs ?? 'off'}-of-${place.processes.length}-at-${index}`)
    const shares = await Promise.all(
      place.processes.map(({ url }, index) =>
        visitors.ask({
          name: 'enter',
          group: String(names[index]),
          address,
          url: `http://${SERVER_ADDRESS}:${new URL(url).port}/graphql`,
          count: Math.ceil((COUNT - index) / place.processes.length),
          overMs: ENTER_OVER_MS,
        }),
      ),
    )
    return {
      lengthMs,
      address,
      names,
      ports: Object.assign({}, ...shares.map(({ ports }) => ports)),
      acknowledgedAtMs: Object.assign({}, ...shares.map(({ acknowledgedAtMs }) => acknowledgedAtMs)),
    }
  }

  /** When they were seen to leave, counted from the last byte of each, as the server's kernel knows it. */
  async function offlineOf({ address, ports, acknowledgedAtMs }: Group) {
    const lastBytes = lastBytesFrom(address)
    const leaves = await untilSeenToLeave(place, Object.keys(ports))
    const { withinMs } = lastBytes
    const systemAheadMs = systemMs() - performance.now()
    const outcomes = leaves.map(({ userId, atMs }) => ({
      afterMs: Math.round(atMs - Number(lastBytes.atMs.get(Number(ports[userId])))),
      // After 30 s without a message of the page its user is offline for that.
      pageForMs: Math.round(atMs + systemAheadMs - Number(acknowledgedAtMs[userId])),
    }))
    const [fromMs, toMs] = [
      Math.min(...outcomes.map(({ afterMs }) => afterMs)),
      Math.max(...outcomes.map(({ afterMs }) => afterMs)),
    ]
    report(`dropped for good: ${leaves.length} LEAVE, ${fromMs} to ${toMs} ms (±${withinMs}) after the last byte`)
    const tooEarly = outcomes.filter(
      ({ afterMs, pageForMs }) => afterMs < 15_000 - withinMs && pageForMs < PAGE_SILENT_MS,
    )
    return { count: leaves.length, tooEarly, toMs, withinMs }
  }

  /** Until the server has heard of each, or ended its connection: a question of ours would be a proof of life. */
  async function untilHeardOrLost({ address, names }: Group, mendedAtMs: number): Promise<void> {
    await until(
      () => {
        const nowMs = performance.now()
        return [...connectionsFrom(address).silentForMs.values()].every((ms) => nowMs - ms > mendedAtMs)
      },
      { withinMs: BACK_WITHIN_MS, everyMs: 500, what: `a word of ${names}` },
    )
  }

  /** Until each of them has a socket that its own session hangs on. */
  async function untilBack({ names }: Group) {
    const states = await until(
      async () => {
        const now = await Promise.all(names.map((group) => visitors.ask({ name: 'state', group })))
        return now.every(({ wrong }) => wrong.length === 0) ? now : null
      },
      { withinMs: BACK_WITHIN_MS, everyMs: 500, what: `everybody of ${names} on a socket of their own` },
    )
    return { lost: states.flatMap(({ lost }) => lost) }
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
      const [resentCount = 0] = connectionsFrom(BARE).resentCounts.values()
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
