/** The nodes' leases, and which sockets hang on which node. */
import { listenIn } from '../../presence/listeners.ts'
import { createNumberedLog } from '../../presence/numbered-log.ts'
import type { Dismissal, Loss, NodeListener, RenewAnswer } from '../../presence/store.ts'
import type { PresenceTiming } from '../../presence/timing.ts'
import type { LiveUser } from './live-user.ts'
import { createShardedMap, type ShardedMap } from './sharded-map.ts'

interface Node {
  leaseEndsSteadyMs: number
  /** When it said last that it is not back with all of its sockets yet, null where it is. */
  returningSteadyMs: number | null
  /** By the fence of each: whose it is. */
  readonly attachments: ShardedMap<LiveUser>
  /** What the node has not said to have seen, oldest first. */
  losses: Loss[]
  lossCount: number
}

export interface Nodes {
  renew(nodeId: string, steadyMs: number): void
  /** @param steadyMs - now, while it is not back with all of its sockets; null where it is */
  returns(nodeId: string, steadyMs: number | null): void
  /** Until when a session that was reaped from the node is not ended; null where it is not held. */
  heldUntil(nodeId: string | null): number | null
  /** Its lease is over. */
  end(nodeId: string, steadyMs: number): void
  attached(nodeId: string, fence: string, user: LiveUser): void
  detached(nodeId: string | null, fence: string): void
  /** The node lost the attachment, and has to be told. */
  lost(nodeId: string | null, loss: Loss): void
  losses(nodeId: string, seenLossCount: number): { readonly losses: readonly Loss[]; readonly lossCount: number }
  /** Attachments of nodes whose lease passed. Taking one out is up to the caller. */
  orphans(steadyMs: number): Iterable<[fence: string, LiveUser]>
  /** How many leases hold. */
  aliveCount(steadyMs: number): number
  /** Should an attach by this fence come later, it comes too late. */
  refuse(fence: string, steadyMs: number): void
  isRefused(fence: string): boolean
  dismiss(dismissal: Dismissal): void
  dismissals(seenCount: number | null): Pick<RenewAnswer, 'dismissals' | 'dismissalCount'>
  /** There is something to tell that should not wait for a renewal. */
  news(): void
  listen(listener: NodeListener): () => void
}

/** What a node has not heard of after so many is looked up by it. */
const MAX_DISMISSALS = 10_000
/** An attach whose answer did not come in time is executed within seconds, or never. */
const REFUSED_FOR_MS = 60_000

export function createNodes({ nodeTtlMs, reconnectGraceMs }: PresenceTiming): Nodes {
  const nodes = new Map<string, Node>()
  /** With the end of their time, oldest first. */
  const refused = new Map<string, number>()
  const dismissals = createNumberedLog<Dismissal & { readonly seq: number }>()
  const listeners = new Set<NodeListener>()

  function nodeOf(nodeId: string): Node {
    let node = nodes.get(nodeId)
    if (node === undefined) {
      node = {
        leaseEndsSteadyMs: Number.POSITIVE_INFINITY,
        returningSteadyMs: null,
        attachments: createShardedMap(),
        losses: [],
        lossCount: 0,
      }
      nodes.set(nodeId, node)
    }
    return node
  }

  function heldUntil(node: Node | undefined): number | null {
    if (node === undefined || node.returningSteadyMs === null) return null
    return node.returningSteadyMs + nodeTtlMs + reconnectGraceMs
  }

  function news(): void {
    for (const listener of listeners) listener.news()
  }

  return {
    renew(nodeId, steadyMs) {
      nodeOf(nodeId).leaseEndsSteadyMs = steadyMs + nodeTtlMs
    },

    returns(nodeId, steadyMs) {
      nodeOf(nodeId).returningSteadyMs = steadyMs
    },

    heldUntil: (nodeId) => heldUntil(nodeId === null ? undefined : nodes.get(nodeId)),

    end(nodeId, steadyMs) {
      const node = nodes.get(nodeId)
      if (node !== undefined) node.leaseEndsSteadyMs = Math.min(node.leaseEndsSteadyMs, steadyMs)
    },

    attached(nodeId, fence, user) {
      nodeOf(nodeId).attachments.set(fence, user)
    },

    detached(nodeId, fence) {
      if (nodeId !== null) nodes.get(nodeId)?.attachments.delete(fence)
    },

    lost(nodeId, loss) {
      const node = nodeId === null ? undefined : nodes.get(nodeId)
      if (node === undefined) return
      node.attachments.delete(loss.fence)
      node.losses.push(loss)
      node.lossCount += 1
    },

    losses(nodeId, seenLossCount) {
      const node = nodeOf(nodeId)
      const unseenCount = Math.max(0, node.lossCount - seenLossCount)
      node.losses = unseenCount === 0 ? [] : node.losses.slice(-unseenCount)
      return { losses: node.losses, lossCount: node.lossCount }
    },

    aliveCount: (steadyMs) =>
      [...nodes.values()].filter(({ leaseEndsSteadyMs }) => steadyMs < leaseEndsSteadyMs).length,

    refuse(fence, steadyMs) {
      for (const [other, untilMs] of refused) {
        if (steadyMs < untilMs) break
        refused.delete(other)
      }
      refused.set(fence, steadyMs + REFUSED_FOR_MS)
    },

    isRefused: (fence) => refused.has(fence),

    dismiss(dismissal) {
      dismissals.push({ ...dismissal, seq: dismissals.lastSeq() + 1 })
      dismissals.dropThrough(dismissals.lastSeq() - MAX_DISMISSALS)
      news()
    },

    dismissals(seenCount) {
      const dismissalCount = dismissals.lastSeq()
      const seenSeq = seenCount ?? dismissalCount
      if (!dismissals.reaches(seenSeq)) return { dismissals: 'unknown', dismissalCount }
      const unseen = dismissals.after(seenSeq, MAX_DISMISSALS)
      return { dismissals: unseen.map(({ userId, issuedUpToMs }) => ({ userId, issuedUpToMs })), dismissalCount }
    },

    news,
    listen: (listener) => listenIn(listeners, listener),

    *orphans(steadyMs) {
      for (const [nodeId, node] of nodes) {
        if (steadyMs < node.leaseEndsSteadyMs) continue
        yield* node.attachments.entries()
        // Without attachments it is only kept for what it has to be told, should it come back.
        if (
          node.attachments.size() === 0 &&
          steadyMs >= (heldUntil(node) ?? 0) &&
          (node.losses.length === 0 || steadyMs >= node.leaseEndsSteadyMs + 100 * nodeTtlMs)
        ) {
          nodes.delete(nodeId)
        }
      }
    },
  }
}
