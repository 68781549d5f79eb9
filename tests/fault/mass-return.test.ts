/**
 * Five thousand clients of one address come back after a restart, all at once, read a page and follow: with the default
 * limits none of them is refused for its rate.
 */
import { pino } from 'pino'
import { expect, it } from 'vitest'
import { createRollcall } from '../../src/app.ts'
import type { SettingTexts } from '../../src/config.ts'
import { cleanupsAfterEach } from '../support/cleanup.ts'
import { listen, postgresData, type TestServer } from '../support/server.ts'
import { until } from '../support/wait.ts'
import { startClients } from './crowd.ts'
import type { StormOrder, StormState } from './storm-clients.ts'

const CLIENT_COUNT = Number(process.env.FAULT_SOCKETS ?? '5000')
/** Two cores take some 500 a second, clients included. */
const STORM_MS = 20_000 + CLIENT_COUNT * 10
const ASKED = [
  '{ position onlineUsers(first: 50) { nodes { id name status } totalCount } }',
  'subscription { positionAdvanced }',
]

const cleanups = cleanupsAfterEach()

it(`${CLIENT_COUNT} clients come back at once, and none is told that it asks too much`, {
  timeout: 2 * STORM_MS + 60_000,
}, async () => {
  const data = await postgresData()
  cleanups.push(data.drop)
  const first = await start(data.settings, 0)
  let stop = first.stop
  cleanups.push(() => stop())
  const child = await startClients(cleanups)
  let state: StormState = { acknowledgedCount: 0, answeredCount: 0, failures: {} }
  child.on('message', (said: StormState) => {
    state = said
  })
  child.send({ wsUrls: [first.wsUrl], from: 0, count: CLIENT_COUNT, asked: ASKED } satisfies StormOrder)
  const all = (times: number) => () =>
    state.acknowledgedCount === CLIENT_COUNT && state.answeredCount >= times * ASKED.length * CLIENT_COUNT
  await until(all(1), { withinMs: STORM_MS, what: 'all clients' })

  await stop()
  const again = await start(data.settings, Number(new URL(first.url).port))
  stop = again.stop
  await until(all(2), { withinMs: STORM_MS, what: 'all clients again' }).catch((error) => {
    throw new Error(`${error.message} ${JSON.stringify(state)}`)
  })
  const refusals = Object.keys(state.failures).filter((failure) => /RATE_LIMITED|429/.test(failure))
  expect(refusals, JSON.stringify(state.failures)).toEqual([])
})

async function start(settings: SettingTexts, port: number): Promise<TestServer> {
  const rollcall = createRollcall({ ...settings, HOST: '127.0.0.1' }, pino({ level: 'silent' }))
  await rollcall.ready
  return listen(rollcall, port)
}
