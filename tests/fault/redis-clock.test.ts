/** The clock of Redis is set while nodes and people are at work: nobody leaves for it, and whoever is gone does. */
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { cleanupsAfterEach } from '../support/cleanup.ts'
import { post } from '../support/clients.ts'
import { command } from '../support/redis-process.ts'
import { until } from '../support/wait.ts'
import { untilConnected } from './people.ts'
import { createPerson } from './person.ts'
import { createProgram } from './program.ts'
import { watch } from './watcher.ts'
import { type Node, openWorld } from './world.ts'

const SETTABLE_TIME = new URL('../support/redis-time.mjs', import.meta.url)
const HOUR_MS = 3_600_000
/** HEARTBEAT_INTERVAL and NODE_TTL of these processes: after it everything is judged as ever. */
const PAUSE_MS = 3000
const COUNT = 10

const cleanups = cleanupsAfterEach()

it.each([
  { how: 'forward by an hour', offsets: [HOUR_MS] },
  { how: 'back by an hour', offsets: [-HOUR_MS] },
  { how: 'forward by an hour and back', offsets: [HOUR_MS, 0] },
  { how: 'forward by 900 ms', offsets: [900] },
])('set $how', { timeout: 120_000 }, async ({ offsets }) => {
  const settings = { RECONNECT_GRACE: '5s', SESSION_TTL: '10s' }
  const world = await openWorld({ nodeCount: 2, settings, environment: { NODE_OPTIONS: `--import=${SETTABLE_TIME}` } })
  cleanups.push(world.close)
  const [one, two] = world.nodes as [Node, Node]
  const people = Array.from({ length: COUNT }, (_, index) =>
    createPerson({ id: `person-${index}`, at: () => (index % 2 === 0 ? one : two).wsUrl() }),
  )
  cleanups.push(() => Promise.all(people.map((person) => person.close())))
  const programs = ['program-0', 'program-1'].map((id) => createProgram(id, () => ({ url: one.url() }), 1000))
  cleanups.push(() => Promise.all(programs.map((program) => program.stop())))
  const gone = createPerson({ id: 'gone', at: () => two.wsUrl() })
  cleanups.push(() => gone.close())
  await untilConnected([...people, gone])
  const watcher = watch('watcher', () => ({ url: two.url(), wsUrl: two.wsUrl() }))
  cleanups.push(() => watcher.stop())
  await until(() => watcher.picture().size === COUNT + 3, { what: 'everybody in the picture' })

  gone.giveUp()
  gone.reset()
  for (const offset of offsets) {
    await command(world.redis, 'SET', `{rollcall:${world.app}}:clock-offset`, offset)
    await sleep(PAUSE_MS + 2000)
  }
  await until(() => watcher.picture().size === COUNT + 2, { withinMs: 30_000, what: 'the LEAVE of who is gone' })
  // The list was read after its position: who came in between is told as a JOIN once more.
  const changes = watcher.changes.filter(({ kind }) => kind !== 'JOIN')
  expect(changes.map(({ kind, userId }) => `${userId} ${kind}`)).toEqual(['gone LEAVE'])
  expect(people.every((person) => person.log.length === 1)).toBe(true)
  expect([watcher.problems, watcher.expiredCount()]).toEqual([[], 0])

  const offset = offsets.at(-1) ?? 0
  const { data } = await post(
    { url: one.url() },
    'dev:late',
    'mutation { heartbeat { expiresAt viewer { lastActive } } }',
  )
  const lateMs = Math.abs(Date.parse(data?.heartbeat.viewer.lastActive) - (Date.now() + offset))
  expect(lateMs).toBeLessThan(10_000)
})
