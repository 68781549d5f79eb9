/** The nodes' leases, and which sockets hang on which node. */
import type { Loss } from '../../presence/store.ts'
import type { LiveSession, LiveUser } from './live-user.ts'

export interface Attachment {
  readonly user: LiveUser
  readonly session: LiveSession
}

interface Node {
  leaseEndsAtMs: number
  readonly attachments: Map<string, Attachment>
  /** What the node has not said to have seen, oldest first. */
  losses: Loss[]
  lossCount: number
}

export interface Nodes {
  renew(nodeId: string, nowMs: number): void
  attached(nodeId: string, fence: string, attachment: Attachment): void
  detached(nodeId: string | null, fence: string): void
  /** The node lost the attachment, and has to be told. */
  lost(nodeId: string | null, loss: Loss): void
  losses(nodeId: string, seenLossCount: number): { readonly losses: readonly Loss[]; readonly lossCount: number }
  /** Attachments of nodes whose lease passed. Taking one out is up to the caller. */
  orphans(nowMs: number): Iterable<[fence: string, Attachment]>
}

export function createNodes(nodeTtlMs: number): Nodes {
  const nodes = new Map<string, Node>()

  function nodeOf(nodeId: string): Node {
    let node = nodes.get(nodeId)
    if (node === undefined) {
      node = { leaseEndsAtMs: Number.POSITIVE_INFINITY, attachments: new Map(), losses: [], lossCount: 0 }
      nodes.set(nodeId, node)
    }
    return node
  }

  return {
    renew(nodeId, nowMs) {
      nodeOf(nodeId).leaseEndsAtMs = nowMs + nodeTtlMs
    },

    attached(nodeId, fence, attachment) {
      nodeOf(nodeId).attachments.set(fence, attachment)
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

    *orphans(nowMs) {
      for (const [nodeId, node] of nodes) {
        if (nowMs < node.leaseEndsAtMs) continue
        yield* node.attachments
        // Without attachments it is only kept for what it has to be told, should it come back.
        if (
          node.attachments.size === 0 &&
          (node.losses.length === 0 || nowMs >= node.leaseEndsAtMs + 100 * nodeTtlMs)
        ) {
          nodes.delete(nodeId)
        }
      }
    },
  }
}
