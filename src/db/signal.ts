/** Wakes loops that wait for a ring or a timeout. */

export interface Signal {
  /** @param isLoud - also ends the waits with `isDeaf` */
  ring(options?: { readonly isLoud: boolean }): void
  /**
   * Resolves at the next ring, or after `forMs`. Does not keep the process alive.
   *
   * @param isDeaf - ignores rings that are not loud
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
