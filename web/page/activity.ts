/**
 * When to tell the server that the person is there: only where they did something, and at most once an interval.
 *
 * A tab that nobody touches sends nothing: that it is there, its answers to the server's pings show.
 */
export interface ActivityBeats {
  /** The person did something: a key, a pointer, a look at the tab. The first time is told at once. */
  noticed(): void
  /** The server counted activity without a beat of ours. */
  told(): void
  /** The server takes the person for idle: what they do next is told at once. */
  expired(): void
  /** Whether the person did something that the server has not answered yet. */
  isPending(): boolean
  /** The connection is there: what was noticed while it was not goes out, unless it is too old. */
  connected(): void
  disconnected(): void
}

export interface ActivityOptions {
  /** As the server told with its acknowledgement. */
  readonly intervalMs: () => number
  /** @returns whether the server counted it; false: it is sent again with the next connection */
  readonly beat: () => Promise<boolean>
}

export function createActivityBeats({ intervalMs, beat }: ActivityOptions): ActivityBeats {
  // A tab that opened in the background has told nothing yet: the first look at it is told at once.
  let toldAtMs = Number.NEGATIVE_INFINITY
  /** When the person did what was not told yet. */
  let noticedAtMs: number | null = null
  let isConnected = false
  let isBeating = false
  let timer: ReturnType<typeof setTimeout> | null = null

  function unset(): void {
    if (timer !== null) clearTimeout(timer)
    timer = null
  }

  function schedule(): void {
    if (!isConnected || isBeating || noticedAtMs === null || timer !== null) return
    timer = setTimeout(send, Math.max(0, toldAtMs + intervalMs() - performance.now()))
  }

  async function send(): Promise<void> {
    const [noticedWasMs, toldWasMs] = [noticedAtMs, toldAtMs]
    timer = null
    noticedAtMs = null
    toldAtMs = performance.now()
    isBeating = true
    const isCounted = await beat()
    isBeating = false
    if (isCounted) return schedule()
    toldAtMs = toldWasMs
    noticedAtMs ??= noticedWasMs
  }

  return {
    noticed() {
      noticedAtMs = performance.now()
      schedule()
    },

    told() {
      unset()
      noticedAtMs = null
      toldAtMs = performance.now()
    },

    expired() {
      toldAtMs = Number.NEGATIVE_INFINITY
      unset()
      schedule()
    },

    isPending: () => noticedAtMs !== null || isBeating,

    connected() {
      isConnected = true
      // What the person did before a long outage says nothing about now.
      if (noticedAtMs !== null && performance.now() - noticedAtMs > intervalMs()) noticedAtMs = null
      schedule()
    },

    disconnected() {
      isConnected = false
      unset()
    },
  }
}
