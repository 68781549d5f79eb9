/** What a process does because time passes, as one table of jobs. */
import type { Retention } from '../db/retention.ts'
import type { Hub } from '../fanout/hub.ts'
import type { NodeLease } from '../presence/node-lease.ts'
import type { Presence } from '../presence/presence.ts'
import type { Recorder } from '../presence/recorder.ts'
import type { UserSettings } from '../presence/settings.ts'
import type { PresenceStore } from '../presence/store.ts'
import { createStepWatch } from '../presence/timing.ts'
import type { Streams } from '../server/streams.ts'
import { SOCKET_CHECK_MS, type WebSockets } from '../server/websocket.ts'
import { untilDone } from '../slices.ts'
import type { Job } from './background.ts'
import type { Core } from './core.ts'

/** Users per slice of a sweep: a few milliseconds, after which other work runs. */
export const SWEEP_SLICE = 500
/** How often retention runs. If there is nothing to delete, it costs one index lookup. */
const RETENTION_EVERY_MS = 1000

/** The parts that the jobs use. */
export interface Busy {
  readonly store: PresenceStore
  readonly hub: Hub
  readonly node: NodeLease
  readonly presence: Presence
  readonly settings: UserSettings
  readonly webSockets: WebSockets
  readonly streams: Streams
  readonly recorder: Recorder
  readonly retention: Retention
}

export function jobsOf({ config, clock, limits, log }: Core, parts: Busy): Job[] {
  const { store, hub, node, presence, settings, webSockets, streams, recorder, retention } = parts
  const clockStepMs = createStepWatch(clock)
  /** Skips the job while another process may serve: this one must not change anyone's presence then. */
  const alone = (run: Job['run']): Job['run'] => {
    return (wasLate) => (recorder.excludesOthers() ? run(wasLate) : undefined)
  }
  const sweep = alone(() => untilDone(() => store.sweep(SWEEP_SLICE)))
  const reap = alone(() => untilDone(() => store.reapNodes(SWEEP_SLICE)))
  return [
    { name: 'sweep', everyMs: config.SWEEP_INTERVAL, run: sweep },
    { name: 'renew', everyMs: config.NODE_RENEW, run: () => node.renew() },
    { name: 'reap', everyMs: config.SWEEP_INTERVAL, run: reap },
    { name: 'sockets', everyMs: SOCKET_CHECK_MS, run: (wasLate) => webSockets.check(wasLate) },
    { name: 'streams', everyMs: 1000, run: () => streams.check() },
    {
      name: 'limits',
      everyMs: 1000,
      async run() {
        limits.forget()
        const { budgets } = store
        if (budgets !== null) await limits.share((taken) => budgets.take(taken))
      },
    },
    { name: 'pace', everyMs: 100, run: () => hub.tick() },
    ...(config.FANOUT_WINDOW > 0 ? [{ name: 'window', everyMs: config.FANOUT_WINDOW, run: () => hub.tell() }] : []),
    {
      name: 'clock',
      everyMs: 1000,
      run() {
        const stepMs = clockStepMs()
        if (stepMs !== 0) log.info({ stepMs }, "This host's clock was set, or the host slept.")
      },
    },
    {
      name: 'retention',
      everyMs: RETENTION_EVERY_MS,
      // The process that writes the history also shortens it: two processes would only wait for each other's row locks.
      run: () => (recorder.state().isHolder ? retention.run() : undefined),
    },
    { name: 'positions', everyMs: 1000, run: alone(() => hub.tickPositions()) },
    {
      name: 'settings',
      everyMs: 1000,
      async run() {
        await settings.settle()
        await presence.seedWaiting()
      },
    },
  ]
}
