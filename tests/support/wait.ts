/** Waiting for a condition, with a deadline: never for a length of time. */
import { setTimeout as sleep } from 'node:timers/promises'

/** @returns what `look` gives as soon as it is neither false, null nor undefined */
export async function until<Found>(
  look: () => Found | Promise<Found>,
  {
    withinMs = 10_000,
    everyMs = 10,
    what = 'the condition',
  }: { withinMs?: number; everyMs?: number; what?: string } = {},
): Promise<NonNullable<Exclude<Found, false>>> {
  const deadlineMs = performance.now() + withinMs
  for (;;) {
    const found = await look()
    if (found !== false && found !== null && found !== undefined) return found as NonNullable<Exclude<Found, false>>
    if (performance.now() > deadlineMs) throw new Error(`${what} did not come within ${withinMs} ms.`)
    await sleep(everyMs)
  }
}
