import { setTimeout as sleep } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { QueryRefusedError } from '../../src/db/failures.ts'
import { createPatience } from '../../src/db/patience.ts'

const away = { name: 'PresenceError', code: 'UNAVAILABLE' }
const silence = () => new Promise<never>(() => {})

async function waitOf(asking: Promise<unknown>): Promise<number> {
  const askedAtMs = performance.now()
  await expect(asking).rejects.toMatchObject(away)
  return performance.now() - askedAtMs
}

it('lets one request wait for the bound, whatever it asks in turn', async () => {
  const { within } = createPatience(1000)
  const first = waitOf(within(silence))
  await sleep(600)
  // 400 ms are left, and 500 ms are the least.
  const second = await waitOf(within(silence))
  expect(second).toBeGreaterThan(450)
  expect(second).toBeLessThan(700)
  expect(await first).toBeGreaterThan(950)
  expect(await waitOf(within(silence))).toBeLessThan(700)
})

it('has the whole bound again after an answer, a refusal too', async () => {
  const { within } = createPatience(1000)
  for (const answer of [async () => 'rows', () => Promise.reject(new QueryRefusedError('22021', 'bad'))]) {
    await waitOf(within(silence))
    await within(answer).catch(() => {})
    expect(await waitOf(within(silence))).toBeGreaterThan(950)
  }
})

it('waits less than the least where the bound is less', async () => {
  const { within } = createPatience(100)
  expect(await waitOf(within(silence))).toBeLessThan(300)
})
