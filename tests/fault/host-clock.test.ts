/**
 * One process alone whose host's clock is set while it runs, or whose host sleeps: the wall clock jumps, the monotonic
 * one does not. What is told is dated by the clock of now, and nobody comes or goes for it.
 */
import { expect, it, type TestContext } from 'vitest'
import { post } from '../support/clients.ts'
import { openFakeClock } from '../support/faketime.ts'
import { startProcess } from '../support/process.ts'
import { embeddedData } from '../support/server.ts'
import { until } from '../support/wait.ts'
import { untilConnected } from './people.ts'
import { createPerson } from './person.ts'
import { watch } from './watcher.ts'

const HOUR_MS = 3_600_000
/** What a request and a slow machine may take. */
const LATE_MS = 15_000
const SETTINGS = { AWAY_AFTER: '20s', IDLE_TIMEOUT: '40s', SESSION_TTL: '120s', RECONNECT_GRACE: '3s' }

async function openWorld(onTestFinished: TestContext['onTestFinished']) {
  const clock = openFakeClock()
  onTestFinished(() => clock.remove())
  const data = await embeddedData()
  onTestFinished(data.drop)
  const lines: Record<string, unknown>[] = []
  const start = () => startProcess({ ...data.settings, ...SETTINGS }, lines, clock.environment)
  let server = await start()
  onTestFinished(async () => void (await server.end('SIGKILL')))
  const ask = async (userId: string, query: string) => {
    const { data: answer, errors } = await post(server, `dev:${userId}`, query)
    if (!answer) throw new Error(JSON.stringify(errors))
    return answer
  }
  return {
    clock,
    lines,
    server: () => server,
    async restart() {
      await server.end('SIGTERM')
      server = await start()
    },
    async beat(userId: string) {
      const { heartbeat } = await ask(userId, BEAT)
      return { expiresAtMs: Date.parse(heartbeat.expiresAt), lastActiveMs: Date.parse(heartbeat.viewer.lastActive) }
    },
    async seen(userId: string) {
      const { user } = await ask('reader', `{ user(id: "${userId}") { status lastActive onlineSince } }`)
      return {
        status: String(user.status),
        lastActiveMs: Date.parse(user.lastActive),
        onlineSinceMs: Date.parse(user.onlineSince),
      }
    },
  }
}

const BEAT = 'mutation { heartbeat { expiresAt viewer { lastActive } } }'

function expectNow(moment: number, offsetMs: number): void {
  expect(Math.abs(moment - (Date.now() + offsetMs))).toBeLessThan(LATE_MS)
}

it.concurrent('after a sleep of eight hours all moments are right, and nobody left', {
  timeout: 120_000,
}, async ({ onTestFinished }) => {
  const { clock, lines, server, beat, seen } = await openWorld(onTestFinished)
  const sleepMs = 8 * HOUR_MS
  const person = createPerson({ id: 'on-socket', at: () => server().wsUrl })
  onTestFinished(() => person.close())
  await untilConnected([person])
  await beat('over-http')
  const watcher = watch('watcher', server)
  onTestFinished(() => watcher.stop())
  await until(() => watcher.picture().size === 2, { what: 'both in the picture' })

  clock.set(sleepMs)
  await until(() => lines.some(({ stepMs }) => Math.abs(Number(stepMs) - sleepMs) < 5000), {
    what: 'the line about the step',
  })
  const after = await beat('over-http')
  expectNow(after.lastActiveMs, sleepMs)
  expectNow(after.expiresAtMs, sleepMs + 120_000)
  await beat('new')
  expectNow((await seen('new')).onlineSinceMs, sleepMs)
  await until(() => watcher.picture().size === 3, { what: 'the JOIN of who came after it' })
  expect(watcher.changes.filter(({ kind }) => kind === 'LEAVE')).toEqual([])
  expect(person.log).toHaveLength(1)
  expect(lines.filter(({ stepMs }) => stepMs !== undefined)).toHaveLength(1)
})

it.concurrent('activity while the clock stood ahead keeps nobody ONLINE, and is cut at the next start', {
  timeout: 180_000,
}, async ({ onTestFinished }) => {
  const { clock, beat, seen, restart } = await openWorld(onTestFinished)
  clock.set(HOUR_MS)
  const ahead = await beat('alice')
  expectNow(ahead.lastActiveMs, HOUR_MS)
  clock.set(0)
  const since = await seen('alice')
  expect(since).toMatchObject({ status: 'ONLINE', lastActiveMs: ahead.lastActiveMs })
  await until(async () => (await seen('alice')).status === 'AWAY', { withinMs: 20_000 + LATE_MS, what: 'AWAY' })
  // Of one user nothing goes back while they are there.
  expect((await beat('alice')).lastActiveMs).toBe(ahead.lastActiveMs)
  expect((await seen('alice')).status).toBe('ONLINE')
  await restart()
  expectNow((await seen('alice')).lastActiveMs, 0)
  await until(async () => (await seen('alice')).status === 'AWAY', { withinMs: 20_000 + LATE_MS, what: 'AWAY' })
})

it.concurrent('a clock that is set back ends nothing late', { timeout: 120_000 }, async ({ onTestFinished }) => {
  const { clock, beat, seen } = await openWorld(onTestFinished)
  await beat('alice')
  clock.set(-HOUR_MS)
  const { lastActiveMs } = await seen('alice')
  expectNow(lastActiveMs, 0)
  const bob = await beat('bob')
  expectNow(bob.lastActiveMs, -HOUR_MS)
  expectNow(bob.expiresAtMs, -HOUR_MS + 120_000)
  for (const status of ['AWAY', 'OFFLINE']) {
    await until(async () => (await seen('alice')).status === status, { withinMs: 20_000 + LATE_MS, what: status })
  }
})
