/**
 * Brings a tab's session back if it went offline and the app continues to send heartbeats over HTTP (rule 7): otherwise
 * the heartbeats would start a session `default`, which outlives the tab.
 *
 * The store decides whether a user is back, in the step of the attach. This module only asks, for the users of this
 * node's sockets without a session, whenever their state changed.
 */
import { isUnavailable } from './errors.ts'
import type { SocketSession } from './socket-session.ts'

export interface Returns {
  /** The user's own state changed; null: it can be anyone's. */
  look(userId: string | null): void
  /** Asks again about the users for whom the store could not answer. Resolves when it has asked about all. */
  ask(): Promise<void>
}

export interface ReturnsOptions {
  /** The sockets of this node, by user, in the order in which they were opened. */
  readonly byUser: ReadonlyMap<string, ReadonlySet<SocketSession>>
  readonly onError: (error: unknown) => void
}

export function createReturns({ byUser, onError }: ReturnsOptions): Returns {
  const waiting = new Set<string>()
  let asking: Promise<void> | null = null

  /** The user's sockets whose session went offline, newest first. */
  function parted(userId: string): SocketSession[] {
    const sockets: SocketSession[] = []
    for (const open of byUser.get(userId) ?? []) if (open.isParted()) sockets.unshift(open)
    return sockets
  }

  function ask(): Promise<void> {
    // Sockets that go offline in one step are reported one after the other: the newest is known only after the last.
    asking ??= Promise.resolve()
      .then(askNow)
      .finally(() => {
        asking = null
      })
    return asking
  }

  /** Asks about one user after the other: there are few of them, and the store has others to serve. */
  async function askNow(): Promise<void> {
    // A user who is added again during their own turn gets another turn.
    for (const userId of waiting) {
      waiting.delete(userId)
      try {
        const [newest, ...others] = parted(userId)
        await newest?.returnAfterBeats('any')
        // A heartbeat that named no session may have come by now, and it belongs to the newest tab.
        for (const open of others) await open.returnAfterBeats('own')
      } catch (error) {
        if (!isUnavailable(error)) onError(error)
        else {
          // The node asks again with its next renewal.
          waiting.add(userId)
          return
        }
      }
    }
  }

  return {
    look(userId) {
      const userIds = userId === null ? byUser.keys() : [userId]
      for (const one of userIds) if (parted(one).length > 0) waiting.add(one)
      if (waiting.size > 0) ask().catch(onError)
    },
    ask,
  }
}
