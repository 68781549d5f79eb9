/**
 * Tells the server that the person is there: where they did something, and at most once an interval. Nothing is sent
 * for a tab that nobody touches; that it is there shows by its answers to the server's pings.
 */
import { elapsedMs, type Moment, now } from './elapsed.ts'

export interface ActivityOptions {
  /** As the server asked for with its acknowledgement; null while there is no connection. */
  readonly intervalMs: () => number | null
  /** Sends a heartbeat. @returns whether the server counted it */
  readonly send: () => Promise<boolean>
}

export class Activity {
  readonly #options: ActivityOptions
  /** When the server last counted activity; null where what happens next is told at once. */
  #countedAt: Moment | null = null
  /** When the person did what was not told yet. */
  #noticedAt: Moment | null = null
  #isSending = false
  #timer: ReturnType<typeof setTimeout> | undefined

  constructor(options: ActivityOptions) {
    this.#options = options
  }

  /** The person did something. */
  readonly notice = (): void => {
    this.#noticedAt = now()
    this.#schedule()
  }

  /** The server counted activity without a heartbeat. */
  counted(): void {
    this.#countedAt = now()
    this.#noticedAt = null
  }

  /** The server takes the person for idle: what they do next brings them back, so it is told at once. */
  expired(): void {
    this.#countedAt = null
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#schedule()
  }

  connected(): void {
    const intervalMs = this.#options.intervalMs() ?? 0
    // What they did before a long outage says nothing about now.
    if (this.#noticedAt && elapsedMs(this.#noticedAt) > intervalMs) this.#noticedAt = null
    this.#schedule()
  }

  stop(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#noticedAt = null
  }

  #schedule(): void {
    const intervalMs = this.#options.intervalMs()
    if (intervalMs === null || this.#isSending || !this.#noticedAt) return
    const ms = this.#countedAt ? Math.max(0, intervalMs - elapsedMs(this.#countedAt)) : 0
    // In a hidden tab the timer may come a minute late: what is noticed there does not wait for it.
    if (ms === 0) void this.#send()
    else this.#timer ??= setTimeout(() => void this.#send(), ms)
  }

  async #send(): Promise<void> {
    const noticedAt = this.#noticedAt
    clearTimeout(this.#timer)
    this.#timer = undefined
    if (this.#options.intervalMs() === null) return
    this.#isSending = true
    this.#noticedAt = null
    const isCounted = await this.#options.send()
    this.#isSending = false
    if (isCounted) this.#countedAt = now()
    else this.#noticedAt ??= noticedAt
    if (isCounted) this.#schedule()
  }
}
