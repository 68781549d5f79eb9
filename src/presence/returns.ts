/**
 * Brings a tab's session back where it went offline and the app goes on to send heartbeats over HTTP (rule 7): else
 * they would make a session `default`, which outlives the tab.
 *
 * Whether a user is back is for the store to say, in the step of the attach. Here only the users of this node's sockets
 * without a session are asked about, whenever something of them changed.
 */
import { isUnavailable } from './errors.ts'
import type { SocketSession } from './socket-session.ts'

export interface Returns {
  /** Something of the user's own state changed; null: it can be anyone's. */
  look(userId: string | null): void
  /** Asks again about those whom the store could not answer for. Resolves when it has asked about all. */
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

  /** The newest first. */
  function parted(userId: string): SocketSession[] {
    const sockets: SocketSession[] = []
    for (const open of byUser.get(userId) ?? []) if (open.isParted()) sockets.unshift(open)
    return sockets
  }

  function ask(): Promise<void> {
    // Sockets that go offline in one step are told one after the other: the newest of them is known after the last.
    asking ??= Promise.resolve()
      .then(askNow)
      .finally(() => {
        asking = null
      })
    return asking
  }

  /** One after the other: there are few of them, and the store has others to serve. */
  async function askNow(): Promise<void> {
    // A user who is named while they are asked about comes again.
    for (const userId of waiting) {
      waiting.delete(userId)
      try {
        const [newest, ...others] = parted(userId)
        await newest?.returnAfterBeats('any')
        // A beat that named no session may have come by now, and it is the newest tab's.
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
