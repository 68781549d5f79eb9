/** How the parts of a process stop: for a deploy, after the loss of the work, and for good. */
import type { Hub } from '../fanout/hub.ts'
import type { NodeLease } from '../presence/node-lease.ts'
import type { Recorder } from '../presence/recorder.ts'
import type { SocketRegistry } from '../presence/socket-registry.ts'
import type { PresenceStore } from '../presence/store.ts'
import type { Streams } from '../server/streams.ts'
import type { WebSockets } from '../server/websocket.ts'
import { untilDone } from '../slices.ts'
import type { Background } from './background.ts'
import type { Closers } from './closers.ts'
import type { Core } from './core.ts'
import { SWEEP_SLICE } from './jobs.ts'
import type { Running } from './life.ts'

/** How long the records may take to reach the database when the process stops. */
const FLUSH_WAIT_MS = 10_000
/** How long requests under way may take when the process stops. */
export const REQUEST_WAIT_MS = 5000

export interface StoppableParts {
  readonly store: PresenceStore
  readonly hub: Hub
  readonly node: NodeLease
  readonly sockets: Pick<SocketRegistry, 'nodeId'>
  readonly webSockets: WebSockets
  readonly streams: Streams
  readonly recorder: Recorder
  readonly background: Background
}

export function stopsOf(core: Core, parts: StoppableParts, closers: Closers): Omit<Running, 'lost'> {
  const { config, isAlone, log } = core
  const { store, hub, node, sockets, webSockets, streams, recorder, background } = parts

  /** Stops all jobs, and puts the gathered activity into records. */
  async function comeToRest(): Promise<void> {
    await background.stop()
    await node.stop()
    hub.close()
    await untilDone(() => store.endNode(sockets.nodeId(), SWEEP_SLICE)).catch((error) =>
      core.logFailure({ err: error }, 'The last activity could not be recorded.'),
    )
  }

  return {
    async drain() {
      if (isAlone) {
        // Stop the sweep first, so that users who are here now get the grace period of the next start.
        await background.stop()
        await webSockets.close({ overMs: 0, answersWithinMs: REQUEST_WAIT_MS, leavesSessions: true })
        await streams.close(0)
      } else {
        const { DRAIN_TIME } = config
        await Promise.all([
          webSockets.close({ overMs: DRAIN_TIME, answersWithinMs: REQUEST_WAIT_MS, leavesSessions: false }),
          streams.close(DRAIN_TIME),
        ])
      }
    },

    async retire() {
      let isWorkKept = false
      try {
        await webSockets.close({ overMs: 0, answersWithinMs: 0, leavesSessions: true })
        await streams.close(0)
        await comeToRest()
        while (!isWorkKept && (await recorder.regain()) === 'nobody wrote') {
          isWorkKept = (await recorder.flush(FLUSH_WAIT_MS)).isComplete
        }
        const { waitingCount } = recorder.state()
        if (!isWorkKept && waitingCount > 0) {
          log.warn({ waitingCount }, 'Another process served in between: records that waited here were dropped.')
        }
      } finally {
        await recorder.stop({ isWorkKept })
        await closers.close()
      }
    },

    async close() {
      try {
        await comeToRest()
        const isLost = isAlone && !recorder.state().isHolder
        const { isComplete } = isLost ? { isComplete: false } : await recorder.flush(FLUSH_WAIT_MS)
        if (!isComplete) log.error({}, 'The database did not take the last records in time: the next start repairs it.')
      } finally {
        await closers.close()
      }
    },
  }
}
