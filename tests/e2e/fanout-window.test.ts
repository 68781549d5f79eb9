import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import { closeTabs, openTab, post, settled } from '../support/clients.ts'
import { startServer, type TestServer } from '../support/server.ts'
import { until } from '../support/wait.ts'

/** Long enough for a busy machine to do a few steps within one. */
const WINDOW_MS = 1000
const STEPS = 20

let server: TestServer
beforeAll(async () => {
  server = await startServer({ FANOUT_WINDOW: `${WINDOW_MS}ms` })
})
afterEach(closeTabs)
afterAll(() => server.stop())

it('merges what happens within FANOUT_WINDOW to one change a user, and loses nothing', async () => {
  const watcher = await openTab(server, 'watcher')
  const seen = { everyone: watcher.follow(), hall: watcher.follow('(room: "hall")') }
  const listed = watcher.follow('(userIds: ["alice", "bob"])')
  await settled(watcher)
  const [alice, bob] = [await openTab(server, 'alice'), await openTab(server, 'bob', { rooms: ['hall'] })]
  for (let step = 0; step < STEPS; step += 1) {
    await alice.ask(`mutation { setStatus(status: ${step % 2 === 0 ? 'BUSY' : 'AWAY'}) { viewer { id } } }`)
    await bob.ask(`mutation { ${step % 2 === 0 ? 'leaveRoom' : 'joinRoom'}(room: "hall") { session { id } } }`)
  }
  await alice.ask('mutation { setStatus(status: BUSY, message: "The last word") { viewer { id } } }')
  await bob.ask('mutation { leaveRoom(room: "hall") { session { id } } }')

  const { data } = await post(server, 'dev:anyone', '{ position }')
  const isWhole = () =>
    seen.everyone.some(({ user }) => user.statusMessage === 'The last word') && seen.hall.at(-1)?.kind !== 'JOIN'
  await until(isWhole, { what: 'the last words' })
  // The last step was bob's, in the hall; where it was merged with his coming in, the hall is told nothing.
  const ofAlice = seen.everyone.filter(({ user }) => user.id === 'alice')
  expect(ofAlice.length).toBeLessThan(STEPS / 2)
  expect(seen.hall.length).toBeLessThan(STEPS / 2)
  expect(listed.map(({ position }) => position)).toEqual(
    seen.everyone.filter(({ user }) => user.id !== 'watcher').map(({ position }) => position),
  )
  expect(Number(ofAlice.at(-1)?.position.split(':')[1])).toBeLessThanOrEqual(Number(data?.position.split(':')[1]))
})
