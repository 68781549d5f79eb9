/**
 * The leases of the nodes, and the sockets of each node.
 *
 * `lua/shared/sockets.lua` and `lua/renew-node.lua` of the Redis store are its counterpart: change both.
 */
import { listenIn } from '../../presence/listeners.ts'
import { createNumberedLog } from '../../presence/numbered-log.ts'
import type { Dismissal, Loss, NodeListener, RenewAnswer } from '../../presence/store.ts'
import type { PresenceTiming } from '../../presence/timing.ts'
import type { LiveUser } from './live-user.ts'
import { createShardedMap, type ShardedMap } from './sharded-map.ts'

interface Node {
  leaseEndsSteadyMs: number
  /** When the node last reported that it is not back with all of its sockets yet; null if it is back. */
  returningSteadyMs: number | null
  /** Maps the fence of each attached socket to its user. */
  readonly attachments: ShardedMap<LiveUser>
  /** Losses that the node has not confirmed yet, oldest first. */
  losses: Loss[]
  lossCount: number
}

export interface Nodes {
  renew(nodeId: string, steadyMs: number): void
  /** @param steadyMs - now, if the node is not back with all of its sockets yet; null if it is */
  returns(nodeId: string, steadyMs: number | null): void
  /** The time before which no session that was reaped from the node ends; null if the node is not returning. */
  heldUntil(nodeId: string | null): number | null
  /** Ends the lease of the node. */
  end(nodeId: string, steadyMs: number): void
  attached(nodeId: string, fence: string, user: LiveUser): void
  detached(nodeId: string | null, fence: string): void
  /** Removes the attachment, and keeps the loss for the node's next renewal. */
  lost(nodeId: string | null, loss: Loss): void
  losses(nodeId: string, seenLossCount: number): { readonly losses: readonly Loss[]; readonly lossCount: number }
  /** Attachments of nodes whose lease passed. The caller removes each one with `lost`. */
  orphans(steadyMs: number): Iterable<[fence: string, LiveUser]>
  /** The number of nodes whose lease has not passed. */
  aliveCount(steadyMs: number): number
  /** Makes a later attach with this fence fail. */
  refuse(fence: string, steadyMs: number): void
  isRefused(fence: string): boolean
  dismiss(dismissal: Dismissal): void
  dismissals(seenCount: number | null): Pick<RenewAnswer, 'dismissals' | 'dismissalCount'>
  /** Notifies the listeners of news that should not wait for the next renewal. */
  news(): void
  listen(listener: NodeListener): () => void
}

/** Dismissals kept for nodes. A node that missed more gets `unknown`, and looks its users up itself. */
const MAX_DISMISSALS = 10_000
/** An attach whose answer did not arrive in time takes effect within seconds, or never. */
const REFUSED_FOR_MS = 60_000

export function createNodes({ nodeTtlMs, reconnectGraceMs }: PresenceTiming): Nodes {
  const nodes = new Map<string, Node>()
  /** Maps each refused fence to the end of its refusal, oldest first. */
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
        // A node without attachments is kept only for its losses, in case it returns.
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
