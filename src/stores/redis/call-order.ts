/**
 * Sends the calls for one user in the order in which they were made, even if an attach has to wait for its permit. A
 * later call waits until the earlier ones are sent, not until they are answered.
 */
export interface CallOrder {
  /** Whether an earlier call for the user has not been sent yet. */
  isWaiting(userId: string): boolean
  /** Sends a call after all earlier ones for the user: at once if none is waiting. */
  send<Answer>(userId: string, send: () => Promise<Answer>): Promise<Answer>
  /** Sends a call when `ready` resolves. Later calls for the user wait for it to be sent. */
  sendWhen<Answer>(userId: string, ready: () => Promise<() => Promise<Answer>>): Promise<Answer>
}

export function createCallOrder(): CallOrder {
  /** The last waiting call of each user with one. The promise resolves when the call was sent, or failed before. */
  const lastOf = new Map<string, Promise<void>>()

  async function sendWhen<Answer>(userId: string, ready: () => Promise<() => Promise<Answer>>): Promise<Answer> {
    const before = lastOf.get(userId) ?? Promise.resolve()
    // Wrap the answer in an object: `then` would wait for a returned promise.
    const sent = before.then(ready).then((send) => ({ answer: send() }))
    const last = sent.then(
      () => {},
      () => {},
    )
    lastOf.set(userId, last)
    void last.then(() => {
      if (lastOf.get(userId) === last) lastOf.delete(userId)
    })
    const { answer } = await sent
    return answer
  }

  return {
    isWaiting: (userId) => lastOf.has(userId),

    send(userId, send) {
      if (lastOf.size === 0 || !lastOf.has(userId)) return send()
      return sendWhen(userId, async () => send)
    },

    sendWhen,
  }
}
