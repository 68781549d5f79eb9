/** What is opened is closed in reverse, also where a start fails half-way. */

export interface Closers {
  push(close: () => void | Promise<void>): void
  /** Closes all of it, whatever fails, and throws what failed first. */
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
