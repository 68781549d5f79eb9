/**
 * This process as a node of the live state: it keeps its lease, learns what its sockets lost, and brings its sessions
 * back where that state was lost.
 */
import { isUnavailable } from './errors.ts'
import type { SocketRegistry } from './socket-registry.ts'
import type { Dismissal, PresenceStore } from './store.ts'

export interface NodeOptions {
  readonly store: PresenceStore
  readonly sockets: SocketRegistry
  /** Their tokens no longer hold, here and now. `unknown`: it can be anyone's. */
  readonly dismissed: (dismissals: readonly Dismissal[] | 'unknown') => void
  /** Brings to the store what the database has open. */
  readonly adopt: () => Promise<void>
  readonly onError: (error: unknown) => void
}

export interface NodeLease {
  /**
   * Renews the lease, and does what follows from the answer.
   *
   * @throws PresenceError `UNAVAILABLE`
   */
  renew(): Promise<void>
  /** Resolves when no work of its own is under way. */
  stop(): Promise<void>
}

export function createNodeLease({ store, sockets, dismissed, adopt, onError }: NodeOptions): NodeLease {
  let seen: { readonly nodeId: string; readonly lossCount: number } | null = null
  let seenDismissalCount: number | null = null
  let hasAnnounced = false
  let announcing: Promise<void> | null = null
  let adopting: Promise<void> | null = null
  let renewing: Promise<void> | null = null
  let telling: Promise<void> | null = null
  /** Something came while a renewal was under way. */
  let mustRenewAgain = false
  let isStopped = false

  const unlisten = store.nodes.listen({
    news() {
      mustRenewAgain = renewing !== null
      renew().catch(quietly)
    },
    startAnew() {
      hasAnnounced = false
      // Who was dismissed at the end of the life before is not known to the new one.
      if (seenDismissalCount !== null) seenDismissalCount = -1
      sockets.startAnew()
      announce()
    },
  })

  const unlistenViewers = store.viewers.listen(sockets.returns.look)

  /** One at a time: the next one tells what this one learnt. */
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
    await adopt()
    // If another epoch began in between, a part of them went to the one before.
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
    // The rest, or another epoch that began in between, is for the next renewal.
    if (hasAnnounced || awayCount > 0 || nodeId !== sockets.nodeId() || isStopped) return
    await store.announced()
    if (nodeId === sockets.nodeId()) hasAnnounced = true
  }

  function quietly(error: unknown): void {
    // Away: the next renewal tries again.
    if (!isUnavailable(error)) onError(error)
  }

  return {
    renew,
    async stop() {
      isStopped = true
      unlisten()
      unlistenViewers()
      await Promise.allSettled([renewing, announcing, adopting, telling])
    },
  }
}
