/** A Postgres whose packets vanish: nothing is refused and nothing comes back. */
import { expect, it } from 'vitest'
import { cleanupsAfterEach } from '../support/cleanup.ts'
import { closeTabs, openTab, post } from '../support/clients.ts'
import { postgresData, startServer } from '../support/server.ts'
import { openTcpProxy } from '../support/tcp-proxy.ts'
import { SECRET, sign } from '../support/tokens.ts'
import { until } from '../support/wait.ts'

const cleanups = cleanupsAfterEach()
/** `DATABASE_WAIT`, and the time of a busy test machine. */
const WAITED_MS = 2000 + 700

it('has nobody wait for longer than DATABASE_WAIT, and goes on when it speaks again', { timeout: 60_000 }, async () => {
  const data = await postgresData()
  cleanups.push(data.drop)
  const address = new URL(String(data.settings.DATABASE_URL))
  const wire = await openTcpProxy({ host: address.hostname, port: Number(address.port) })
  cleanups.push(wire.close)
  address.port = String(wire.port)
  // The usual time limit of ten seconds, which the records have.
  const server = await startServer({ DATABASE_URL: address.href, DATABASE_WAIT: '2s', JWT_SECRET: SECRET })
  cleanups.push(server.stop, async () => closeTabs())
  const tab = await openTab(server, 'alice')
  await tab.ask('{ users(ids: ["bob", "carol"]) { id } }')

  const questions = {
    setStatus: 'mutation { setStatus(status: BUSY) { viewer { user { id } } } }',
    setVisibility: 'mutation { setVisibility(visibility: NOBODY) { viewer { user { id } } } }',
    'users of who is offline': '{ users(ids: ["bob", "carol"]) { id isOnline } }',
    'user of who is offline': '{ user(id: "bob") { id isOnline } }',
  }
  wire.fallSilent()
  const heartbeat = 'mutation { heartbeat { nextHeartbeatInMs } }'
  for (let round = 0; round < 2; round += 1) {
    const answers = await Promise.all(
      Object.entries(questions).map(async ([name, question], index) => {
        // Whether this token was revoked is in Postgres too.
        const token = await sign({ sub: `asker-${round}-${index}` })
        const askedAtMs = performance.now()
        const { errors } = await post(server, token, question)
        return { name, code: errors?.[0]?.extensions.code, waitedMs: performance.now() - askedAtMs }
      }),
    )
    for (const { name, code, waitedMs } of answers) {
      expect({ name, code, isInTime: waitedMs < WAITED_MS }).toEqual({ name, code: 'UNAVAILABLE', isInTime: true })
    }
    const beatAtMs = performance.now()
    expect((await tab.ask(heartbeat)).errors).toBeUndefined()
    expect(performance.now() - beatAtMs).toBeLessThan(500)
  }
  wire.mend()
  await until(async () => (await tab.ask(questions.setStatus)).errors === undefined, { what: 'a status' })
})
