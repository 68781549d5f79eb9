/** A bell for loops that wait: for a ring, or until their time is over. */

export interface Signal {
  /** @param isLoud - ends the waits of the deaf too */
  ring(options?: { readonly isLoud: boolean }): void
  /**
   * Resolves at the next ring, or when the time is over. Holds no process.
   *
   * @param isDeaf - waits for the time, whatever rings, unless it is loud
   */
  wait(forMs: number, options?: { readonly isDeaf: boolean }): Promise<void>
}

export function createSignal(): Signal {
  const waits = new Map<() => void, boolean>()
  return {
    ring({ isLoud } = { isLoud: false }) {
      for (const [end, isDeaf] of waits) if (isLoud || !isDeaf) end()
    },
    async wait(forMs, { isDeaf } = { isDeaf: false }) {
      await new Promise<void>((resolve) => {
        const end = (): void => {
          clearTimeout(timer)
          waits.delete(end)
          resolve()
        }
        const timer = setTimeout(end, Math.max(0, forMs))
        timer.unref()
        waits.set(end, isDeaf)
      })
    },
  }
}
