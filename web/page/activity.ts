/**
 * When to tell the server that the person is there: only where they did something, and at most once an interval.
 *
 * A tab that nobody touches sends nothing: that its connection answers, the server's pings show.
 */
export interface ActivityBeats {
  /** The person did something: a key, a pointer, a look at the tab. */
  noticed(): void
  /** A word that counted as activity went out otherwise. */
  told(): void
  stop(): void
}

export interface ActivityOptions {
  /** As the server told with its acknowledgement. */
  readonly intervalMs: () => number
  readonly beat: () => void
}

export function createActivityBeats({ intervalMs, beat }: ActivityOptions): ActivityBeats {
  let toldAtMs = performance.now()
  let timer: ReturnType<typeof setTimeout> | null = null

  function stop(): void {
    if (timer !== null) clearTimeout(timer)
    timer = null
  }

  return {
    noticed() {
      if (timer !== null) return
      const dueInMs = toldAtMs + intervalMs() - performance.now()
      timer = setTimeout(
        () => {
          timer = null
          toldAtMs = performance.now()
          beat()
        },
        Math.max(0, dueInMs),
      )
    },

    told() {
      stop()
      toldAtMs = performance.now()
    },

    stop,
  }
}
