/** The sockets of this node, by user and by fence, and what the live state has to be told of them. */
import { randomUUID } from 'node:crypto'
import type { Caller } from './access.ts'
import { type Attachment, type NodeSocket, OpenSocket, type SocketsOfNode } from './open-socket.ts'
import type { HeartbeatWords, Presence } from './presence.ts'
import { createReturns } from './returns.ts'
import type { DetachRequest, Loss } from './store.ts'

export type SocketsOptions = Pick<SocketsOfNode, 'store' | 'timing' | 'monotonicMs' | 'onError'>

export type Sockets = ReturnType<typeof createSockets>

/** Detaches that are told together, when the store is back. */
const TOLD_AT_ONCE = 64

export function createSockets({ store, timing, monotonicMs, onError }: SocketsOptions) {
  const byUser = new Map<string, Set<OpenSocket>>()
  const byFence = new Map<string, OpenSocket>()
  const challenged = new Set<OpenSocket>()
  const absent = new Set<OpenSocket>()
  /** Detaches that the store could not be told. As many as there were sockets when it went away. */
  const untold = new Map<string, DetachRequest>()
  /** The process's name in the live state: new at each start, and whenever that state begins anew. */
  let nodeId: string = randomUUID()
  let mintedCount = 0
  const returns = createReturns({ byUser, onError })

  const node: SocketsOfNode = {
    store,
    timing,
    monotonicMs,
    onError,
    byFence,
    challenged,
    absent,
    nodeId: () => nodeId,

    mintFence() {
      mintedCount += 1
      return `${nodeId}:${mintedCount}`
    },

    async tellDetach(request) {
      try {
        await store.detach(request)
      } catch (error) {
        // Told again when the store is back. Its grace counts from then: nobody could come back meanwhile.
        untold.set(request.fence, { ...request, silentForMs: 0 })
        throw error
      }
    },

    tellLater: (request) => void untold.set(request.fence, request),
    attached(open) {
      for (const other of byUser.get(open.caller.userId) ?? []) {
        if (other !== open && other.sessionId === open.sessionId) other.superseded()
      }
    },

    parted: (open) => returns.look(open.caller.userId),
    remove,
  }

  function away(): OpenSocket[] {
    return [...absent].filter((open) => open.mustComeBack())
  }

  function add(open: OpenSocket): void {
    const userId = open.caller.userId
    const ofUser = byUser.get(userId)
    if (ofUser === undefined) byUser.set(userId, new Set([open]))
    else ofUser.add(open)
  }

  function remove(open: OpenSocket): void {
    challenged.delete(open)
    absent.delete(open)
    const ofUser = byUser.get(open.caller.userId)
    if (!ofUser?.delete(open)) return
    if (ofUser.size === 0) byUser.delete(open.caller.userId)
    open.removed()
  }

  /** One of this node's sockets no longer has its session. */
  function lost(loss: Loss): void {
    const open = byFence.get(loss.fence)
    if (open?.fence === loss.fence) open.lost(loss.cause)
    else open?.lostBeforeAnswer(loss)
  }

  return {
    /**
     * Takes in a socket whose client said who they are, and starts or attaches its session.
     *
     * @param session - null for an observer
     */
    async open(
      presence: Presence,
      caller: Caller,
      socket: NodeSocket,
      session: (HeartbeatWords & { readonly sessionId: string | null }) | null,
    ): Promise<Attachment> {
      const open = new OpenSocket(
        node,
        presence,
        caller,
        socket,
        session === null ? null : (session.sessionId ?? randomUUID()),
      )
      add(open)
      if (session === null) return open
      try {
        const { sessionId: _named, ...words } = session
        await open.start(words)
      } catch (error) {
        remove(open)
        throw error
      }
      return open
    },

    userIds: (): Iterable<string> => byUser.keys(),

    /** How many sockets a user has open here. */
    countOf(userId: string): number {
      return byUser.get(userId)?.size ?? 0
    },

    /** Their sessions ended by a word from elsewhere. */
    ended(fences: readonly string[]): void {
      for (const fence of fences) lost({ fence, cause: 'WENT_OFFLINE' })
    },

    /** The user ended a session over HTTP, whether it hung on a socket or not. @param sessionId - null: all */
    endedByUser(userId: string, sessionId: string | null): void {
      for (const open of byUser.get(userId) ?? []) {
        if (sessionId === null) open.endedEverywhere()
        else if (open.sessionId === sessionId) open.ended()
      }
    },

    /** @param issuedUpToMs - only sockets whose token is not younger; null: all of the user's */
    dismiss(userId: string, issuedUpToMs: number | null): void {
      for (const open of byUser.get(userId) ?? []) {
        if (issuedUpToMs === null || open.caller.issuedAtMs <= issuedUpToMs) open.dismiss()
      }
    },

    nodeId: (): string => nodeId,

    /** Whether the store has still to hear of sockets here: that they hold their session again, or how they closed. */
    isReturning: (): boolean => absent.size > 0 || untold.size > 0,

    returns,
    lost,

    /** The live state begins anew: under another name, every session has to be attached again (`comeBack`). */
    startAnew(): void {
      nodeId = randomUUID()
      for (const open of [...byFence.values()]) if (open.fence !== null) open.letGo()
    },

    /**
     * Attaches again what has to be, without waiting for clients to prove that they are there.
     *
     * @returns how many could not be: they are tried again at the next call
     */
    async comeBack(): Promise<number> {
      await Promise.allSettled(away().map((open) => open.comeBack()))
      return away().length
    },

    /** Tells the store of sockets that closed while it was away. */
    async tellUntold(): Promise<void> {
      const requests = [...untold.values()]
      for (let from = 0; from < requests.length; from += TOLD_AT_ONCE) {
        await Promise.all(
          requests.slice(from, from + TOLD_AT_ONCE).map(async (request) => {
            await store.detach(request)
            untold.delete(request.fence)
          }),
        )
      }
    },

    /**
     * Closes replaced and reaped sockets that did not answer.
     *
     * @param wasLate - the check itself came late, so it closes no socket
     */
    checkChallenges(wasLate: boolean): void {
      const nowMs = monotonicMs()
      if (wasLate) return
      for (const open of [...absent]) if (open.isUnproved(nowMs)) open.proofFailed()
      for (const open of challenged)
        if (open.challenge !== null && nowMs >= open.challenge.untilMs) open.challengeIsOver()
    },
  }
}
