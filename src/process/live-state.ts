/** The live state of a process, and the recorder that writes its records to the database. */
import type { Database } from '../db/client.ts'
import { createDirectory } from '../db/directory.ts'
import { readDatabaseId } from '../db/identity.ts'
import { createRecorder } from '../db/recorder.ts'
import type { UserDirectory } from '../presence/directory.ts'
import type { Recorder } from '../presence/recorder.ts'
import { createUserSettings, type UserSettings } from '../presence/settings.ts'
import type { PresenceStore } from '../presence/store.ts'
import { createMemoryStore } from '../stores/memory/index.ts'
import { connectTo } from '../stores/redis/connect.ts'
import { createRedisStore } from '../stores/redis/index.ts'
import { loadScripts } from '../stores/redis/scripts.ts'
import { adoptWhatWasLeft } from './catch-up.ts'
import type { Closers } from './closers.ts'
import type { Core } from './core.ts'
import type { Start } from './starts.ts'

export interface LiveState {
  readonly store: PresenceStore
  readonly directory: UserDirectory
  readonly settings: UserSettings
  readonly recorder: Recorder
  /** Why the live state cannot be used until an operator acts, as a sentence for the operator; null: it can be used. */
  whyUnusable(): string | null
}

/** Why a process without Redis waits for the work, for an operator. */
const WAIT_REASONS = {
  taken: 'Another process serves this database. To serve with many, set REDIS_URL.',
  away: 'Postgres cannot be used, and another process may serve its database. The server waits for it.',
} as const

/** Without Redis, resolves when this process has the work and has adopted the users who are online in Postgres. */
export async function openLiveState(
  core: Core,
  database: Database,
  start: Start,
  closers: Closers,
): Promise<LiveState> {
  const { config, timing, monotonicMs, isAlone, log } = core
  const directory = createDirectory({
    database,
    waitMs: Math.min(config.DATABASE_WAIT, config.DATABASE_TIME_LIMIT),
  })
  let unusable: string | null = null
  const store = await openStore(core, database, (reason) => {
    unusable = reason
  })
  closers.push(() => store.close())
  const settings = createUserSettings({ store, directory, monotonicMs })
  const recorder = createRecorder({
    database,
    records: store.records,
    timing,
    holder: start.holder,
    isFenced: isAlone,
    onNewerSettings: settings.doubt,
    log,
  })
  closers.push(() => recorder.stop())
  start.waitsUntil(() => recorder.stop())
  if (isAlone) {
    await takeTheWork(core, recorder)
    await adoptWhatWasLeft(directory, store)
    await store.adopted()
    recorder.follow()
  } else {
    // With Redis, the process that holds the work writes the records of all processes.
    recorder.start().then(
      () => recorder.follow(),
      (error) => core.logFailure({ err: error }, 'Records are not brought to the database.'),
    )
  }
  return { store, directory, settings, recorder, whyUnusable: () => unusable }
}

async function openStore(
  { config, timing, clock, log }: Core,
  database: Database,
  onUnusable: (reason: string) => void,
): Promise<PresenceStore> {
  if (config.REDIS_URL === null) return createMemoryStore({ timing, clock })
  const url = config.REDIS_URL
  return createRedisStore({
    timing,
    scripts: loadScripts({ timing }),
    app: config.REDIS_APP,
    databaseId: await readDatabaseId(database),
    beatFlushMs: config.BEAT_FLUSH,
    activityLagMs: config.ACTIVITY_LAG,
    connect: (purpose) =>
      connectTo({
        url,
        app: config.REDIS_APP,
        // A failed renewal of the lease must be retried before the lease expires.
        timeLimitMs:
          purpose === 'work' ? config.REDIS_TIME_LIMIT : Math.min(config.REDIS_TIME_LIMIT, config.NODE_RENEW),
        retryWithinMs: config.NODE_RENEW,
      }),
    onUnusable,
    log,
  })
}

/** Without Redis one process has the live state, and a second one waits until it stops. */
async function takeTheWork({ config, health, log }: Core, recorder: Recorder): Promise<void> {
  let reason: string | null = null
  const waits = setInterval(() => {
    const current = recorder.state().isDatabaseUp ? WAIT_REASONS.taken : WAIT_REASONS.away
    if (current === reason) return
    reason = current
    health.notReady(reason)
    log.warn({}, reason)
  }, config.NODE_RENEW)
  try {
    await recorder.start()
  } finally {
    clearInterval(waits)
  }
}
