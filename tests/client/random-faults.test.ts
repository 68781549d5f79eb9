/**
 * The client kit under random faults of its link and of the servers, from a seed: whenever it says that what it shows
 * is live, that is what the servers said within the last seconds, and after each fault it is right again.
 *
 * `FAULT_MINUTES=10 FAULT_SEED=7 npx vitest run tests/client/random-faults.test.ts` is the long form.
 */
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, expect, it } from 'vitest'
import { FAULTS } from '../fault/faults.ts'
import { createRandom, type Random } from '../fault/random.ts'
import { watch } from '../fault/watcher.ts'
import { openWorld, type World } from '../fault/world.ts'
import { type Answer, post } from '../support/clients.ts'
import { openTcpProxy, type TcpProxy } from '../support/tcp-proxy.ts'
import { until } from '../support/wait.ts'
import { closeAll, presenceOf, read } from './kit.ts'

const MINUTES = Number(process.env.FAULT_MINUTES ?? '1')
const SEED = Number(process.env.FAULT_SEED ?? 18)
const ONLY = process.env.FAULT_ONLY?.split(',')
const IDS = Array.from({ length: 24 }, (_, index) => `user-${String(index).padStart(2, '0')}`)
/** What is wrong may count as live for so long: the link is asked after 4 s of silence and given up after 8. */
const WRONG_MS = 15_000
/** A lease, a grace, two renewals, and the waits of the link. */
const REPAIR_MS = 30_000
const LOOK_MS = 50

interface Claim {
  readonly atMs: number
  readonly store: string
  readonly says: string
}

/** What breaks between the client and the servers, beside what breaks among these. */
const LINK_FAULTS: Readonly<Record<string, (wire: TcpProxy, random: Random, world: World) => Promise<void>>> = {
  async cut(wire) {
    wire.cut()
  },
  /** What is open stays black for ever, and new connections are whole: another network. */
  async otherNetwork(wire) {
    wire.silenceOpen()
  },
  async black(wire, random) {
    wire.fallSilent()
    await sleep(random.between(500, 8000))
    wire.mend()
  },
  async refused(wire, random) {
    wire.refuse()
    await sleep(random.between(500, 6000))
    wire.mend()
  },
  async slow(wire, random) {
    for (let count = 0; count < 5; count += 1) {
      wire.hold(random.pick([['up'], ['down'], ['up', 'down']]))
      await sleep(random.between(100, 2500))
      wire.release()
      await sleep(random.between(10, 200))
    }
  },
  async otherNode(wire, random, { nodes }) {
    wire.retarget(Number(new URL(random.pick(nodes.filter((node) => node.isAlive())).url()).port))
  },
}
const SERVER_FAULTS = ['flush', 'restartEmpty', 'pauseRedis', 'cutAll', 'killNode', 'stopNodeShortly', 'deafen']

let world: World | undefined
let wire: TcpProxy | undefined
afterAll(async () => {
  closeAll()
  await wire?.close()
  await world?.close()
})

it(`says live only of what is right, seed ${SEED}`, { timeout: (MINUTES + 3) * 60_000 }, async () => {
  const random = createRandom(SEED)
  const opened = await openWorld({
    nodeCount: 2,
    settings: { AWAY_AFTER: '1h', IDLE_TIMEOUT: '2h', SESSION_TTL: '10m' },
  })
  world = opened
  const { nodes } = opened
  const portOf = (index: number): number => Number(new URL(String(nodes[index]?.url())).port)
  const ownWire = await openTcpProxy({ host: '127.0.0.1', port: portOf(0) })
  wire = ownWire

  const sessions = new Map(IDS.map((id) => [id, randomUUID()]))
  const anyNode = () => random.pick(nodes.filter((node) => node.isAlive()))
  async function step(): Promise<void> {
    const id = random.pick(IDS)
    const query = random.pick([
      'mutation ($id: ID) { heartbeat(sessionId: $id) { expiresAt } }',
      'mutation ($id: ID) { heartbeat(sessionId: $id) { expiresAt } }',
      'mutation ($id: ID) { goOffline(sessionId: $id) { viewer { id } } }',
      'mutation { setStatus(status: BUSY) { viewer { id } } }',
      'mutation { setStatus(status: AUTOMATIC) { viewer { id } } }',
    ])
    await post({ url: anyNode().url() }, `dev:${id}`, query, { id: sessions.get(id) }).catch(() => {})
  }

  const presence = presenceOf({ url: `http://127.0.0.1:${ownWire.port}` }, 'watcher', { observer: true })
  const list = read(presence.onlineUsers())
  const users = read(presence.users(IDS))
  const count = read(presence.count())
  const stores = {
    list: () => list.now().users.map(({ id, status }) => `${id} ${status}`),
    users: () => users.now().users.flatMap((user) => (user?.isOnline ? [`${user.id} ${user.status}`] : [])),
  }

  /** What the servers say; null where they cannot say it. */
  async function truth(): Promise<string | null> {
    try {
      const query = '{ onlineUsers(first: 100) { nodes { id status } } }'
      const { data }: Answer = await post({ url: anyNode().url() }, 'dev:reader', query)
      return data
        ? data.onlineUsers.nodes.map(({ id, status }: Record<string, string>) => `${id} ${status}`).join()
        : null
    } catch {
      return null
    }
  }

  const truths: { readonly atMs: number; readonly says: string }[] = []
  const claims: Claim[] = []
  let isOver = false
  // Each state of the servers, also those that lasted for no time: what follows at a node without a broken link.
  const direct = nodes.map((node, index) =>
    watch(
      `direct-${index}`,
      () => ({ url: node.url(), wsUrl: node.wsUrl() }),
      undefined,
      (picture) => {
        const lines = [...picture].map(([id, status]) => `${id} ${status}`).sort()
        truths.push({ atMs: performance.now(), says: lines.join() })
      },
    ),
  )
  async function look(): Promise<void> {
    while (!isOver) {
      const says = await truth()
      if (says !== null) truths.push({ atMs: performance.now(), says })
      const atMs = performance.now()
      if (list.now().state === 'live') claims.push({ atMs, store: 'list', says: stores.list().join() })
      if (users.now().state === 'live') claims.push({ atMs, store: 'users', says: stores.users().join() })
      await sleep(LOOK_MS)
    }
  }
  async function traffic(untilMs: number): Promise<void> {
    while (performance.now() < untilMs) {
      await step()
      await sleep(random.between(20, 100))
    }
  }

  const startedMs = performance.now()
  const looking = look()
  const told: string[] = []
  const endsAtMs = performance.now() + MINUTES * 60_000
  for (let round = 0; performance.now() < endsAtMs; round += 1) {
    const name = random.pick(ONLY ?? [...Object.keys(LINK_FAULTS), ...Object.keys(LINK_FAULTS), ...SERVER_FAULTS])
    const startedAtMs = performance.now()
    const going = traffic(startedAtMs + 3000)
    await sleep(random.between(0, 500))
    if (name in LINK_FAULTS) await LINK_FAULTS[name]?.(ownWire, random, opened)
    else await FAULTS[name]?.(opened, random)
    // A node that was killed comes back at another port.
    const ports = nodes.map((_, index) => portOf(index))
    ownWire.move(random.pick(ports))
    await going
    await until(
      async () => {
        const says = await truth()
        const isRight =
          list.now().state === 'live' &&
          users.now().state === 'live' &&
          count.now().state === 'live' &&
          stores.list().join() === says &&
          stores.users().join() === says &&
          count.now().count === stores.list().length
        return isRight
      },
      { what: `the truth after ${name}, round ${round}`, withinMs: REPAIR_MS },
    ).catch(async (error) => {
      throw new Error(
        `${error}\n${told.join('\n')}\n${JSON.stringify({ truth: await truth(), link: presence.link.getSnapshot(), list: list.now().state, listSays: stores.list(), users: users.now().state, usersSay: stores.users(), count: count.now() }, null, 1)}`,
      )
    })
    const atMs = Math.round(startedAtMs - startedMs)
    told.push(`round ${round} at ${atMs}: ${name}, right after ${Math.round(performance.now() - startedAtMs)} ms`)
  }
  isOver = true
  await looking
  for (const one of direct) await one.stop()

  const wrong = claims.flatMap(({ atMs, store, says }) => {
    const recent = truths.filter((truth) => truth.atMs > atMs - WRONG_MS && truth.atMs < atMs + 1000)
    if (recent.length === 0 || recent.some((truth) => truth.says === says)) return []
    const near = recent.map((truth) => `${Math.round(truth.atMs - atMs)} ms: ${difference(truth.says, says)}`)
    return [`${store} at ${Math.round(atMs - startedMs)}, ${near.slice(-40).join('; ')}`]
  })
  process.stdout.write(`${told.join('\n')}\n${claims.length} claims\n`)
  expect(wrong.slice(0, 5)).toEqual([])
  expect(claims.length).toBeGreaterThan(100)
})

/** What is only in the one, and only in the other. */
function difference(one: string, other: string): string {
  const [mine, theirs] = [one.split(','), other.split(',')]
  const only = (from: string[], of: string[]) => from.filter((line) => !of.includes(line)).join()
  return `-${only(mine, theirs)} +${only(theirs, mine)}`
}
