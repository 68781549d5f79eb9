/**
 * Next.js bundles a route with a copy of each module that it imports. So the server leaves its Rollcall on `globalThis`,
 * and a route takes it from there.
 */
import type { Rollcall } from '../../src/app.ts'

const shared = globalThis as { rollcall?: Rollcall }

export function setRollcall(rollcall: Rollcall): void {
  shared.rollcall = rollcall
}

/** @throws Error before the server has started */
export function getRollcall(): Rollcall {
  if (shared.rollcall === undefined) throw new Error('Rollcall has not started: is this the server of `server.ts`?')
  return shared.rollcall
}
