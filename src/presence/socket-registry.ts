/** The sockets of this node, by user and by fence, and what the live state has to be told of them. */
import { randomUUID } from 'node:crypto'
import type { Caller } from './access.ts'
import type { HeartbeatInput, Presence } from './presence.ts'
import { createReturns } from './returns.ts'
import { type Attachment, type NodeSocket, SocketSession, type SocketsOfNode } from './socket-session.ts'
import type { DetachRequest, Loss } from './store.ts'

export type SocketRegistryOptions = Pick<SocketsOfNode, 'store' | 'timing' | 'monotonicMs' | 'onError'>

export type SocketRegistry = ReturnType<typeof createSocketRegistry>

/** Detaches that are told together, when the store is back. */
const BATCH_DETACHES = 64

export function createSocketRegistry({ store, timing, monotonicMs, onError }: SocketRegistryOptions) {
  const byUser = new Map<string, Set<SocketSession>>()
  const byFence = new Map<string, SocketSession>()
  const challenged = new Set<SocketSession>()
  const absent = new Set<SocketSession>()
  /** Detaches that the store could not be told. As many as there were sockets when it went away. */
  const pendingDetaches = new Map<string, DetachRequest>()
  /** The process's name in the live state: new at each start, and whenever that state is rebuilt. */
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
        // Told again when the store is back. Its grace counts from then, because nobody could come back before.
        pendingDetaches.set(request.fence, { ...request, silentForMs: 0 })
        throw error
      }
    },

    tellLater: (request) => void pendingDetaches.set(request.fence, request),
    attached(open) {
      for (const other of byUser.get(open.caller.userId) ?? []) {
        if (other !== open && other.sessionId === open.sessionId) other.superseded()
      }
    },

    parted: (open) => returns.look(open.caller.userId),
    remove,
  }

  function away(): SocketSession[] {
    return [...absent].filter((open) => open.mustComeBack())
  }

  function add(open: SocketSession): void {
    const userId = open.caller.userId
    const ofUser = byUser.get(userId)
    if (ofUser === undefined) byUser.set(userId, new Set([open]))
    else ofUser.add(open)
  }

  function remove(open: SocketSession): void {
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
      session: (HeartbeatInput & { readonly sessionId: string | null }) | null,
    ): Promise<Attachment> {
      const open = new SocketSession(
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
    isReturning: (): boolean => absent.size > 0 || pendingDetaches.size > 0,

    returns,
    lost,

    /** The live state is being rebuilt: every session has to be attached again, under another node id (`comeBack`). */
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
    async sendPendingDetaches(): Promise<void> {
      const requests = [...pendingDetaches.values()]
      for (let from = 0; from < requests.length; from += BATCH_DETACHES) {
        await Promise.all(
          requests.slice(from, from + BATCH_DETACHES).map(async (request) => {
            await store.detach(request)
            pendingDetaches.delete(request.fence)
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
