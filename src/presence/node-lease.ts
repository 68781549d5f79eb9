/**
 * This process as a node of the live state: it renews its lease, learns which sockets lost their session, and brings
 * its sessions back if the live state was lost.
 */
import { isUnavailable } from './errors.ts'
import type { EndedSession } from './recent-ends.ts'
import type { SocketRegistry } from './socket-registry.ts'
import type { Dismissal, PresenceStore } from './store.ts'

export interface NodeOptions {
  readonly store: PresenceStore
  readonly sockets: SocketRegistry
  /** Called with the users whose tokens are no longer valid from now on. `unknown`: it can be anyone's. */
  readonly dismissed: (dismissals: readonly Dismissal[] | 'unknown') => void
  /** Brings the sessions that are open in the database to the store. */
  readonly adopt: () => Promise<void>
  /** Writes sessions that are over to the database, unless it knows how they ended. */
  readonly writeEnds: (ends: readonly EndedSession[]) => Promise<void>
  readonly onError: (error: unknown) => void
}

export interface NodeLease {
  /**
   * Renews the lease, and acts on the answer.
   *
   * @throws PresenceError `UNAVAILABLE`
   */
  renew(): Promise<void>
  /** Resolves when none of the lease's own work is under way. */
  stop(): Promise<void>
}

export function createNodeLease({ store, sockets, dismissed, adopt, writeEnds, onError }: NodeOptions): NodeLease {
  let seen: { readonly nodeId: string; readonly lossCount: number } | null = null
  let seenDismissalCount: number | null = null
  let hasAnnounced = false
  let announcing: Promise<void> | null = null
  let adopting: Promise<void> | null = null
  let renewing: Promise<void> | null = null
  let telling: Promise<void> | null = null
  let writing: Promise<void> | null = null
  /** Whether news came while a renewal was under way. */
  let mustRenewAgain = false
  let isStopped = false

  const unlisten = store.nodes.listen({
    news() {
      mustRenewAgain = renewing !== null
      renew().catch(quietly)
    },
    startAnew() {
      hasAnnounced = false
      // The new epoch does not know who was dismissed at the end of the epoch before.
      if (seenDismissalCount !== null) seenDismissalCount = -1
      sockets.startAnew()
      announce()
    },
  })

  const unlistenViewers = store.viewers.listen(sockets.returns.look)

  /** One renewal runs at a time: the next one sends what this one learnt. */
  function renew(): Promise<void> {
    renewing ??= renewNow().finally(() => {
      renewing = null
      if (!mustRenewAgain || isStopped) return
      mustRenewAgain = false
      renew().catch(quietly)
    })
    return renewing
  }

  async function renewNow(): Promise<void> {
    const nodeId = sockets.nodeId()
    const seenLossCount = seen?.nodeId === nodeId ? seen.lossCount : 0
    const answer = await store.renewNode({
      nodeId,
      seenLossCount,
      seenDismissalCount,
      isReturning: sockets.isReturning(),
    })
    seen = { nodeId, lossCount: answer.lossCount }
    seenDismissalCount = answer.dismissalCount
    for (const loss of answer.losses) sockets.lost(loss)
    if (answer.dismissals === 'unknown' || answer.dismissals.length > 0) dismissed(answer.dismissals)
    announce()
    if (sockets.recentEnds?.hasLost()) {
      writing ??= sockets.recentEnds
        .writeLost(writeEnds)
        .catch(quietly)
        .finally(() => {
          writing = null
        })
    }
    if (answer.mustAdopt && adopting === null && !isStopped) {
      adopting = adoptNow()
        .catch(quietly)
        .finally(() => {
          adopting = null
        })
    }
    telling ??= sockets
      .sendPendingDetaches()
      .then(sockets.returns.ask)
      .catch(quietly)
      .finally(() => {
        telling = null
      })
  }

  async function adoptNow(): Promise<void> {
    const nodeId = sockets.nodeId()
    // What ended here is not to be adopted.
    if (writing !== null) await writing
    await adopt()
    // If another epoch began in between, a part of the sessions went to the epoch before.
    if (nodeId === sockets.nodeId()) await store.adopted()
  }

  function announce(): void {
    announcing ??= announceNow()
      .catch(quietly)
      .finally(() => {
        announcing = null
      })
  }

  async function announceNow(): Promise<void> {
    const nodeId = sockets.nodeId()
    const awayCount = await sockets.comeBack()
    // The next renewal handles the rest, and another epoch that began in between.
    if (hasAnnounced || awayCount > 0 || nodeId !== sockets.nodeId() || isStopped) return
    await store.announced()
    if (nodeId === sockets.nodeId()) hasAnnounced = true
  }

  function quietly(error: unknown): void {
    // If the store is unavailable, the next renewal tries again.
    if (!isUnavailable(error)) onError(error)
  }

  return {
    renew,
    async stop() {
      isStopped = true
      unlisten()
      unlistenViewers()
      await Promise.allSettled([renewing, announcing, adopting, telling, writing])
    },
  }
}
