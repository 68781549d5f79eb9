/** The sockets of this node, by user and by fence, and what the node has yet to report of them to the live state. */
import { randomUUID } from 'node:crypto'
import type { Caller } from './access.ts'
import type { HeartbeatInput, Presence } from './presence.ts'
import { createRecentEnds } from './recent-ends.ts'
import { createReturns } from './returns.ts'
import { type Attachment, type NodeSocket, SocketSession, type SocketsOfNode } from './socket-session.ts'
import type { DetachRequest, Loss } from './store.ts'

export type SocketRegistryOptions = Pick<SocketsOfNode, 'store' | 'timing' | 'monotonicMs' | 'onError'>

export type SocketRegistry = ReturnType<typeof createSocketRegistry>

/** How many detaches are sent together when the store is back. */
const BATCH_DETACHES = 64

export function createSocketRegistry({ store, timing, monotonicMs, onError }: SocketRegistryOptions) {
  const byUser = new Map<string, Set<SocketSession>>()
  const byFence = new Map<string, SocketSession>()
  const challenged = new Set<SocketSession>()
  const absent = new Set<SocketSession>()
  const recentEnds = store.budgets === null ? null : createRecentEnds(monotonicMs)
  /** By fence: detaches that did not reach the store. As many as there were sockets when the outage began. */
  const pendingDetaches = new Map<string, DetachRequest>()
  /** The process's name in the live state: new at each start, and whenever the live state is rebuilt. */
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
    recentEnds,
    nodeId: () => nodeId,

    mintFence() {
      mintedCount += 1
      return `${nodeId}:${mintedCount}`
    },

    async tellDetach(request) {
      try {
        await store.detach(request)
      } catch (error) {
        // Sent again when the store is back. The grace counts from then, because no client could come back before.
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

  /** Notifies one of this node's sockets that it no longer has its session. */
  function lost(loss: Loss): void {
    const open = byFence.get(loss.fence)
    if (open?.fence === loss.fence) open.lost(loss.cause)
    else open?.lostBeforeAnswer(loss)
  }

  return {
    /**
     * Registers an authenticated socket, and starts or attaches its session.
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

    /** The number of open sockets that a user has on this node. */
    countOf(userId: string): number {
      return byUser.get(userId)?.size ?? 0
    },

    /** The sessions of these fences were ended by a request from elsewhere. */
    ended(fences: readonly string[]): void {
      for (const fence of fences) lost({ fence, cause: 'WENT_OFFLINE' })
    },

    /** The user ended a session over HTTP, attached to a socket or not. @param sessionId - null: all */
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

    /** Whether the node has yet to report to the store which sockets hold their session again, or how they closed. */
    isReturning: (): boolean => absent.size > 0 || pendingDetaches.size > 0,

    returns,
    lost,

    /** The live state is being rebuilt: `comeBack` has to attach every session again, under another node id. */
    startAnew(): void {
      recentEnds?.lose()
      nodeId = randomUUID()
      for (const open of [...byFence.values()]) if (open.fence !== null) open.letGo()
    },

    /** Null if the live state cannot be lost without this process. */
    recentEnds,

    /**
     * Attaches all sessions again that have to be, except those whose clients must first prove that they are there.
     *
     * @returns how many could not be attached: the next call retries them
     */
    async comeBack(): Promise<number> {
      await Promise.allSettled(away().map((open) => open.comeBack()))
      return away().length
    },

    /** Sends the store the detaches of sockets that closed while it was unavailable. */
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
     * Closes replaced and reaped sockets whose clients did not answer in time.
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
