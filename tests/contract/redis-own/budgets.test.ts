/** What callers have taken is counted by Redis for all nodes, by its clock, and forgotten when it has flowed back. */
import { expect, it } from 'vitest'
import { until } from '../../support/wait.ts'
import { untilJoined } from '../redis-harness.ts'
import { ownRedis } from './own-redis.ts'

const redis = ownRedis()
const MINUTE = 60_000

it('adds up what all nodes have taken, caller by caller', async () => {
  const nodes = await redis.nodes()
  const [here, there] = [nodes.open(), nodes.open()]
  await Promise.all([untilJoined(here), untilJoined(there)])
  const taken = (key: string, refillMs: number) => ({ key, refillMs, burstMs: MINUTE })
  const [first, other] = (await here.budgets?.take([taken('user:alice', 20_000), taken('user:bob', 5000)])) ?? []
  expect([first, other]).toEqual([20_000, 5000])
  const [both] = (await there.budgets?.take([taken('user:alice', 10_000)])) ?? []
  // Some of it may have flowed back since.
  expect(both).toBeGreaterThan(25_000)
  expect(both).toBeLessThanOrEqual(30_000)
  const [owed] = (await there.budgets?.take([taken('user:alice', 10 * MINUTE)])) ?? []
  expect(owed).toBe(2 * MINUTE)
  const [given] = (await there.budgets?.take([taken('user:alice', -10 * MINUTE)])) ?? []
  expect(given).toBe(0)
})

it('leaves nothing behind when it has flowed back', async () => {
  const nodes = await redis.nodes()
  const store = nodes.open()
  await untilJoined(store)
  await store.budgets?.take([{ key: 'user:alice', refillMs: 100, burstMs: 1000 }])
  const count = async () => (await nodes.redis.keys('*:budget:*')).length
  expect(await count()).toBe(1)
  await until(async () => (await count()) === 0, { what: 'no key' })
})
