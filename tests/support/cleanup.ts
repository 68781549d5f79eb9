/** What a test file opens and has to close. */
import { afterEach } from 'vitest'

/** @returns a list of what is to be done after each test, the last first */
export function cleanupsAfterEach(): (() => Promise<unknown>)[] {
  const cleanups: (() => Promise<unknown>)[] = []
  afterEach(async () => {
    for (const clean of cleanups.splice(0).reverse()) await clean()
  })
  return cleanups
}
