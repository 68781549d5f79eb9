/** Metrics for operators, read by Prometheus: docs/operations.md says how to read them. */
import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client'
import { OWN_VERSION } from '../own-version.ts'
import type { RecorderState } from '../presence/recorder.ts'
import type { StoreStats } from '../presence/store.ts'

export interface Metrics {
  /** Counts an answer with this error code; `UNAVAILABLE` by the part that is unavailable. */
  countError(code: string, part: string): void
  /** The page that Prometheus reads. */
  read(): Promise<{ readonly text: string; readonly contentType: string }>
  close(): void
}

export interface MetricsSources {
  readonly stats: () => Promise<StoreStats>
  readonly recorder: () => RecorderState
  readonly socketCount: () => number
  readonly traffic: () => {
    readonly subscriptionCount: number
    readonly behindCount: number
    readonly replayCount: number
  }
  readonly isReady: () => boolean
}

/** These metrics list every socket on each read, which blocks the process for 50 ms with 20,000 sockets. */
const COUNTED_ONE_BY_ONE = [
  'process_open_fds',
  'nodejs_active_resources',
  'nodejs_active_resources_total',
  'nodejs_active_handles',
  'nodejs_active_handles_total',
]

/** A number that is set when it is known, and is absent when it is not. */
interface Metric {
  set(value: number): void
  remove(): void
}

export function createMetrics(sources: MetricsSources): Metrics {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  for (const name of COUNTED_ONE_BY_ONE) registry.removeSingleMetric(name)

  function gauge(name: string, help: string, read?: () => number): Gauge {
    return new Gauge({
      name: `rollcall_${name}`,
      help,
      registers: [registry],
      ...(read === undefined
        ? {}
        : {
            collect() {
              this.set(read())
            },
          }),
    })
  }

  /** A count that is kept elsewhere. @param read - reads it, if it is always at hand */
  function counter(name: string, help: string, read?: () => number): Metric {
    const made = new Counter({
      name: `rollcall_${name}_total`,
      help,
      registers: [registry],
      ...(read === undefined
        ? {}
        : {
            collect() {
              this.reset()
              this.inc(read())
            },
          }),
    })
    return {
      remove: () => made.remove(),
      set(value: number) {
        made.reset()
        made.inc(value)
      },
    }
  }

  new Gauge({
    name: 'rollcall_build_info',
    help: 'Always 1; `version` is the version of this process.',
    labelNames: ['version'],
    registers: [registry],
  }).set({ version: OWN_VERSION }, 1)
  gauge('ready', '1 where this process welcomes clients.', () => Number(sources.isReady()))
  gauge('sockets', 'Open sockets of this process.', sources.socketCount)
  gauge('subscriptions', 'Open subscriptions of this process.', () => sources.traffic().subscriptionCount)
  gauge(
    'subscriptions_behind',
    'Subscriptions whose client does not read as fast as it is written to.',
    () => sources.traffic().behindCount,
  )
  counter(
    'replays',
    'How often a subscription was brought up from the log since this process started.',
    () => sources.traffic().replayCount,
  )
  gauge('recorder_holder', '1 where this process brings the records to Postgres.', () =>
    Number(sources.recorder().isHolder),
  )
  gauge('postgres_up', '1 where the last write to Postgres came through.', () =>
    Number(sources.recorder().isDatabaseUp),
  )
  gauge(
    'users_set_aside',
    'Users whose records are set aside because another transaction locks their rows.',
    () => sources.recorder().setAsideCount,
  )
  const ofStore = {
    nodeCount: gauge('nodes_alive', 'Processes whose lease holds.'),
    onlineCount: gauge('users_online', 'Users whom everyone sees online.'),
    sessionCount: gauge('sessions', 'Live sessions, of hidden users too.'),
    logCount: gauge('log_entries', 'Changes that the log holds.'),
    logBytes: gauge('log_bytes', 'Bytes of those changes, as the live store estimates them.'),
    recordCount: gauge('records_waiting', 'Records that wait for Postgres.'),
    epochCount: counter('epochs', 'Epochs of the live state that this process has seen; the first is 1.'),
    gapFillCount: counter('gap_fills', 'How often this process read missed changes from the log since it started.'),
    bellGapCount: counter('bell_gaps', 'How often messages were missed since this process started.'),
    reapedCount: counter('reaped', 'Sessions that this process took from dead nodes since it started.'),
  } as const satisfies Readonly<Record<keyof StoreStats, Metric>>
  const storeUp = gauge('store_up', '1 where the live state could be asked for these numbers.')
  const errors = new Counter({
    name: 'rollcall_errors_total',
    help: 'Answers with an error, by its code; for UNAVAILABLE by the part that is away.',
    labelNames: ['code', 'part'],
    registers: [registry],
  })

  return {
    countError: (code, part) => errors.inc({ code, part }),

    async read() {
      try {
        const stats = await sources.stats()
        for (const name of Object.keys(ofStore) as (keyof StoreStats)[]) ofStore[name].set(stats[name])
        storeUp.set(1)
      } catch {
        // Old numbers would look like new ones.
        for (const one of Object.values(ofStore)) one.remove()
        storeUp.set(0)
      }
      return { text: await registry.metrics(), contentType: registry.contentType }
    },

    close: () => registry.clear(),
  }
}
