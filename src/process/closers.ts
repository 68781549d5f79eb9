/** A stack of close functions, called in reverse order, also if a start fails half-way. */

export interface Closers {
  push(close: () => void | Promise<void>): void
  /** Calls all of them, even if some fail, then throws the first failure. */
  close(): Promise<void>
}

export function createClosers(): Closers {
  const stack: (() => void | Promise<void>)[] = []
  return {
    push: (close) => void stack.push(close),

    async close() {
      const failures: unknown[] = []
      for (let close = stack.pop(); close !== undefined; close = stack.pop()) {
        try {
          await close()
        } catch (error) {
          failures.push(error)
        }
      }
      if (failures.length > 0) throw failures[0]
    },
  }
}
