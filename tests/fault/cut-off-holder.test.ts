/**
 * The process that brings the records to Postgres loses Redis alone: another one, which still reads the live state,
 * takes the work over. Else no column of anyone would move for as long as the cut lasts.
 */
import postgres from 'postgres'
import { afterEach, expect, it } from 'vitest'
import { cleanupsAfterEach } from '../support/cleanup.ts'
import { closeTabs, openTab } from '../support/clients.ts'
import { until } from '../support/wait.ts'
import { type Node, openWorld } from './world.ts'

const cleanups = cleanupsAfterEach()
// The hooks that came last go first: no tab is left when its server stops.
afterEach(closeTabs)

it('a holder that is cut off from Redis leaves the records to a process that is not', { timeout: 60_000 }, async () => {
  const world = await openWorld({ nodeCount: 2 })
  cleanups.push(world.close)
  const sql = postgres(world.databaseUrl, { max: 1, onnotice: () => {} })
  cleanups.push(() => sql.end())
  const holder = await until(async () => holderOf(world.nodes), { what: 'a holder' })
  const other = world.nodes.find((node) => node !== holder) as Node

  holder.wire.refuse()
  const tab = await openTab({ wsUrl: other.wsUrl() }, 'alice', { rooms: ['hall'] })
  const isOnline = async () => (await sql`select is_online from rollcall.users where id = 'alice'`)[0]?.is_online
  // NODE_TTL is 2 s: the holder releases the work then.
  await until(async () => (await isOnline()) === true, { withinMs: 6000, what: 'the column of who came' })
  expect(await isHolder(other)).toBe(true)
  expect(await isHolder(holder)).toBe(false)

  holder.wire.mend()
  await until(async () => (await fetch(`${holder.url()}/readyz`)).ok, { what: 'Redis for the first holder' })
  await tab.close()
  await until(async () => (await isOnline()) === false, { withinMs: 6000, what: 'the column of who left' })
  expect(await isHolder(other)).toBe(true)
  expect(await isHolder(holder)).toBe(false)
  const visits = await sql`select end_reason from rollcall.presence_sessions where user_id = 'alice'`
  expect(visits.map(({ end_reason }) => end_reason)).toEqual(['CLOSED'])
})

async function holderOf(nodes: readonly Node[]): Promise<Node | null> {
  for (const node of nodes) if (await isHolder(node)) return node
  return null
}

async function isHolder(node: Node): Promise<boolean> {
  const text = await (await fetch(`${node.url()}/metrics`)).text()
  return /^rollcall_recorder_holder(\{.*\})? 1$/m.test(text)
}
