/**
 * The link of one node to Redis is cut for 12 s, whole for 1 s, and cut again, with the default settings: no cut is
 * longer than NODE_TTL and RECONNECT_GRACE, so nobody who has a socket is seen to leave; who is gone is.
 */
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { it } from 'vitest'
import { WebSocket } from 'ws'
import { until } from '../support/wait.ts'
import { untilConnected } from './people.ts'
import { createPerson, type Person } from './person.ts'
import { type Watcher, watch } from './watcher.ts'
import { type Node, openWorld } from './world.ts'

const DEFAULTS = {
  HEARTBEAT_INTERVAL: '30s',
  SESSION_TTL: '75s',
  CLOSE_GRACE: '5s',
  RECONNECT_GRACE: '15s',
  PING_INTERVAL: '5s',
  PONG_TIMEOUT: '10s',
  NODE_TTL: '10s',
  NODE_RENEW: '3s',
  SWEEP_INTERVAL: '1s',
  LAST_ACTIVE_FLUSH: '10s',
}
const CUT_MS = 12_000
const WHOLE_MS = 1000
/** Sweeps, and what all the rest may take. */
const LATE_MS = 4000
const SLOW_MS = 3000
const COUNT = 30

// They wait for the most part, each with processes of its own.
it.concurrent.for(['falls silent', 'is refused'] as const)(
  'a link that %s for 12 s, is whole for 1 s, and so on, is seen by nobody',
  { timeout: 150_000 },
  async (how, { expect, onTestFinished }) => {
    const world = await openWorld({ nodeCount: 2, settings: DEFAULTS })
    onTestFinished(world.close)
    const [flapping, other] = world.nodes as [Node, Node]
    const people: Person[] = []
    onTestFinished(async () => void (await Promise.all(people.map((person) => person.close()))))
    const open = (id: string): Person => {
      const person = createPerson({ id, at: () => flapping.wsUrl() })
      people.push(person)
      return person
    }
    for (let index = 0; index < COUNT; index += 1) open(`there-${index}`)
    const closing = open('closing')
    const silent = open('silent')
    await untilConnected(people)
    // Their answers come only when the link is cut again: each time the node is back, it cannot bring them.
    for (let index = 0; index < COUNT; index += 1) onTestFinished(await openSlow(`slow-${index}`, flapping.wsUrl()))
    const watcher = watch('watcher', () => ({ url: other.url(), wsUrl: other.wsUrl() }))
    onTestFinished(() => watcher.stop())
    await until(() => watcher.picture().size === 2 * COUNT + 2, { what: 'everybody in the picture' })

    const startMs = performance.now()
    for (let cut = 0; cut < 3; cut += 1) {
      if (how === 'is refused') flapping.wire.refuse()
      else flapping.wire.fallSilent()
      if (cut === 0) {
        await sleep(2000)
        silent.giveUp()
        silent.fallSilent()
        await closing.close()
      }
      await sleep(startMs + cut * (CUT_MS + WHOLE_MS) + CUT_MS - performance.now())
      flapping.wire.mend()
      await sleep(WHOLE_MS)
    }
    await sleep(20_000)

    expect(leaves(watcher).map(({ userId }) => userId)).toEqual(['closing', 'silent'])
    const [closed, lost] = leaves(watcher).map(({ atMs }) => atMs - startMs)
    // Told at the first contact, and at the one after it was found silent.
    expect(closed).toBeLessThan(CUT_MS + WHOLE_MS + 5000 + LATE_MS)
    expect(lost).toBeLessThan(2 * (CUT_MS + WHOLE_MS) + 15_000 + LATE_MS)
    expect(watcher.changes.filter(({ kind }) => kind === 'UPDATE')).toEqual([])
    expect([watcher.problems, watcher.expiredCount()]).toEqual([[], 0])
    expect(people.filter((person) => person !== closing && person !== silent && person.log.length > 1)).toEqual([])
  },
)

function leaves({ changes }: Watcher) {
  return changes.filter(({ kind }) => kind === 'LEAVE').sort((one, two) => (one.userId < two.userId ? -1 : 1))
}

/** A client that answers every ping, of either kind, SLOW_MS late. @returns what closes it */
async function openSlow(id: string, wsUrl: string): Promise<() => Promise<void>> {
  const socket = new WebSocket(wsUrl, 'graphql-transport-ws', { autoPong: false })
  const later = (answer: () => void): void =>
    void setTimeout(() => socket.readyState === socket.OPEN && answer(), SLOW_MS)
  socket.on('ping', (data) => later(() => socket.pong(data)))
  let isAcknowledged = false
  socket.on('message', (data) => {
    const { type, payload } = JSON.parse(String(data)) as { type: string; payload?: unknown }
    if (type === 'connection_ack') isAcknowledged = true
    if (type === 'ping') later(() => socket.send(JSON.stringify({ type: 'pong', payload })))
  })
  socket.on('open', () => {
    const payload = { authorization: `Bearer dev:${id}`, sessionId: randomUUID() }
    socket.send(JSON.stringify({ type: 'connection_init', payload }))
  })
  await until(() => isAcknowledged, { what: `the acknowledgement of ${id}` })
  return async () => socket.terminate()
}
