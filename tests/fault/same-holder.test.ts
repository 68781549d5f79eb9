/** The work of the recorder stays where it is, through a start on an empty Redis and through the loss of its data. */
import postgres from 'postgres'
import { expect, it } from 'vitest'
import { cleanupsAfterEach } from '../support/cleanup.ts'
import { closeTabs, openTab } from '../support/clients.ts'
import { command } from '../support/redis-process.ts'
import { until } from '../support/wait.ts'
import { openWorld } from './world.ts'

const cleanups = cleanupsAfterEach()

it('stays with one process, where two start and where Redis loses its data', { timeout: 120_000 }, async () => {
  const world = await openWorld({
    nodeCount: 2,
    settings: { NODE_TTL: '6s', NODE_RENEW: '1s', SWEEP_INTERVAL: '500ms' },
  })
  cleanups.push(() => world.close())
  const sql = postgres(world.databaseUrl, { max: 1, onnotice: () => {} })
  cleanups.push(() => sql.end())
  cleanups.push(async () => closeTabs())
  const holders = new Set<string>()

  async function untilRecorded(sessionId: string): Promise<void> {
    const isRecorded = async () => {
      const [work] = await sql`select holder from rollcall.recorder_checkpoint`
      if (work?.holder) holders.add(String(work.holder))
      return (await sql`select from rollcall.presence_sessions where client_session_id = ${sessionId}`).length === 1
    }
    await until(isRecorded, { withinMs: 30_000, what: 'the row of a session' })
  }

  for (const [index, node] of world.nodes.entries()) {
    const tab = await openTab({ wsUrl: node.wsUrl() }, `first-${index}`)
    await untilRecorded(tab.sessionId)
  }
  for (let round = 0; round < 2; round += 1) {
    await command(world.redis, 'FLUSHALL')
    const isReady = async () =>
      (await Promise.all(world.nodes.map(async (node) => (await fetch(`${node.url()}/readyz`)).ok))).every(Boolean)
    await until(async () => !(await isReady()), { what: 'nodes that noticed' })
    await until(isReady, { withinMs: 30_000, what: 'nodes that are ready again' })
    for (const [index, node] of world.nodes.entries()) {
      const tab = await openTab({ wsUrl: node.wsUrl() }, `again-${round}-${index}`)
      await untilRecorded(tab.sessionId)
    }
  }
  expect(holders.size).toBe(1)
  const said = world.nodes.flatMap(({ lines }) => lines.map(({ msg }) => String(msg)))
  expect(said.filter((message) => /Records were lost|leaves the recorder/.test(message))).toEqual([])
})
