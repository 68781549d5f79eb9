/** A program without a socket: it beats over HTTP, on whatever node, and tries again when that fails. */
import { randomUUID } from 'node:crypto'
import { post } from '../support/clients.ts'

export interface Program {
  readonly id: string
  stop(): Promise<void>
}

/** @param at - where it beats, asked each time */
export function createProgram(id: string, at: () => { readonly url: string }, everyMs: number): Program {
  const sessionId = randomUUID()
  const query = `mutation { heartbeat(sessionId: "${sessionId}") { expiresAt } }`
  const underWay = new Set<Promise<unknown>>()
  // One that hangs holds up no other.
  const timer = setInterval(() => {
    const beat = post(at(), `dev:${id}`, query).catch(() => {})
    underWay.add(beat)
    beat.finally(() => underWay.delete(beat))
  }, everyMs)
  return {
    id,
    async stop() {
      clearInterval(timer)
      await Promise.all(underWay)
    },
  }
}
