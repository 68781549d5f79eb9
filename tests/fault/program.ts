/** A program without a socket: it beats over HTTP, on whatever node, and tries again when that fails. */
import { randomUUID } from 'node:crypto'
import { post } from '../support/clients.ts'

export interface Program {
  readonly id: string
  /** Its last beats, for the report of a failure: when each was sent and answered, in epoch ms, and the answer. */
  readonly beats: readonly string[]
  stop(): Promise<void>
}

const BEATS_NOTED = 50

/** @param at - where it beats, asked each time */
export function createProgram(id: string, at: () => { readonly url: string }, everyMs: number): Program {
  const sessionId = randomUUID()
  const query = `mutation { heartbeat(sessionId: "${sessionId}") { expiresAt } }`
  const beats: string[] = []
  const underWay = new Set<Promise<unknown>>()
  // One that hangs holds up no other.
  const timer = setInterval(() => {
    const { url } = at()
    const sentAtMs = Date.now()
    const note = (answer: unknown): void => {
      beats.push(`${sentAtMs} to ${Date.now()} at ${url}: ${answer instanceof Error ? answer : JSON.stringify(answer)}`)
      if (beats.length > BEATS_NOTED) beats.shift()
    }
    const beat = post({ url }, `dev:${id}`, query).then(note, note)
    underWay.add(beat)
    beat.finally(() => underWay.delete(beat))
  }, everyMs)
  return {
    id,
    beats,
    async stop() {
      clearInterval(timer)
      await Promise.all(underWay)
    },
  }
}
