/**
 * Sends what is asked for one user in the order in which it was asked, also where an attach has to wait until it may
 * go. Who waits is kept until they are sent, not until they are answered.
 */
export interface CallOrder {
  /** Whether something asked for the user before has not been sent yet. */
  isWaiting(userId: string): boolean
  /** Sends it, after all that was asked for the user before: at once where nothing waits. */
  send<Answer>(userId: string, send: () => Promise<Answer>): Promise<Answer>
  /** Sends it when it may go; later calls for the same user wait behind it. */
  sendWhen<Answer>(userId: string, ready: () => Promise<() => Promise<Answer>>): Promise<Answer>
}

export function createCallOrder(): CallOrder {
  /** Of each user for whom something waits, what was asked last: resolved when it has been sent, or never will be. */
  const lastOf = new Map<string, Promise<void>>()

  async function sendWhen<Answer>(userId: string, ready: () => Promise<() => Promise<Answer>>): Promise<Answer> {
    const before = lastOf.get(userId) ?? Promise.resolve()
    // In an object: a promise as a result would be waited for.
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
