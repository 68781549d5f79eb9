/**
 * Asks `/readyz` of a process again and again, and keeps what the answers prove: at some moment between these two it
 * was ready.
 *
 * An answer proves nothing of the moment in which it is read. One whose request was sent before the process was
 * stopped may have been made before as well, so it does not count; one whose request was sent while it stood still
 * was made after it went on.
 */
import { Agent, get } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'

export interface Proof {
  readonly fromMs: number
  readonly toMs: number
}

export interface Readiness {
  /** When it was ready, oldest first. */
  readonly proofs: readonly Proof[]
  /** Whether the last answer was that it is. */
  isReady(): boolean
  /** What it said last. */
  reason(): string
  answerCount(): number
  /** To be called before the process is stopped (SIGSTOP), and before it goes on (SIGCONT). */
  stops(): void
  goesOn(): void
  close(): Promise<void>
}

/** Between an answer and the next request. */
const PAUSE_MS = 5
/** A process that stands still is asked again. */
const ANSWER_LIMIT_MS = 1000

/** @param url - of the process, asked each time */
export function watchReadiness(url: () => string): Readiness {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  const proofs: Proof[] = []
  let isReady = false
  let reason = ''
  let answerCount = 0
  let isStopped = false
  let stopCount = 0
  let wentOnAtMs = Number.NEGATIVE_INFINITY
  let isClosed = false

  async function look(): Promise<void> {
    const sentAtMs = performance.now()
    const before = { isStopped, stopCount }
    const answer = await ask(`${url()}/readyz`, agent)
    const toMs = performance.now()
    isReady = answer?.status === 200
    if (answer === null) return
    reason = answer.body
    answerCount += 1
    if (!isReady || (stopCount > before.stopCount && !before.isStopped)) return
    proofs.push({ fromMs: before.isStopped ? Math.max(sentAtMs, wentOnAtMs) : sentAtMs, toMs })
  }

  const running = (async () => {
    while (!isClosed) {
      await look()
      await sleep(PAUSE_MS)
    }
  })()

  return {
    proofs,
    isReady: () => isReady,
    reason: () => reason,
    answerCount: () => answerCount,
    stops() {
      stopCount += 1
      isStopped = true
    },
    goesOn() {
      wentOnAtMs = performance.now()
      isStopped = false
    },
    async close() {
      isClosed = true
      await running
      agent.destroy()
    },
  }
}

/**
 * Moments at which two were ready together: one was, for sure between two proofs that the other was, too close to each
 * other for it to have stopped being ready and to be ready again.
 *
 * @param closeMs - so close: less than any hand-over and back
 */
export function readyTogether(one: readonly Proof[], other: readonly Proof[], closeMs: number): readonly Proof[] {
  return [...between(one, other, closeMs), ...between(other, one, closeMs)]
}

function between(inner: readonly Proof[], outer: readonly Proof[], closeMs: number): Proof[] {
  const found: Proof[] = []
  let nextIndex = 0
  for (const proof of inner) {
    while (nextIndex < outer.length && (outer[nextIndex] as Proof).fromMs < proof.toMs) nextIndex += 1
    const after = outer[nextIndex]
    let beforeIndex = nextIndex - 1
    while (beforeIndex >= 0 && (outer[beforeIndex] as Proof).toMs > proof.fromMs) beforeIndex -= 1
    const before = outer[beforeIndex]
    if (before !== undefined && after !== undefined && after.toMs - before.fromMs <= closeMs) found.push(proof)
  }
  return found
}

function ask(url: string, agent: Agent): Promise<{ readonly status: number; readonly body: string } | null> {
  return new Promise((resolve) => {
    const request = get(url, { agent, timeout: ANSWER_LIMIT_MS }, (response) => {
      let body = ''
      response.on('data', (chunk) => {
        body += String(chunk)
      })
      response.on('end', () => resolve({ status: Number(response.statusCode), body }))
      response.on('close', () => resolve(null))
    })
    request.on('timeout', () => request.destroy())
    request.on('error', () => resolve(null))
    request.on('close', () => resolve(null))
  })
}
