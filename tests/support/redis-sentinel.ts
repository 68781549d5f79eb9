/**
 * Sentinels that watch a master and make one of its replicas the master when it falls silent.
 */
import { command, type RedisProcess, startProcess, startTogether, stopAll } from './redis-process.ts'
import { until } from './wait.ts'

export interface SentinelGroup {
  readonly masterName: string
  readonly sentinels: readonly RedisProcess[]
  /** Whom the first sentinel that answers takes for the master. For a moment of a failover they differ. */
  masterAddress(): Promise<{ readonly host: string; readonly port: number }>
  stop(): Promise<void>
}

export interface SentinelOptions {
  readonly masterName: string
  /** Started with its replicas: a sentinel makes no master of one that it never saw. */
  readonly master: RedisProcess
  readonly count?: number
}

/** How long a master is silent before it is taken for dead. By default 30 s. */
const DOWN_AFTER_MS = 1_000
/** A failover that did not come off is tried again after twice this. By default 3 min. */
const FAILOVER_TIMEOUT_MS = 3_000
/** The sentinels find each other by what each says on the master every 2 s. */
const ACQUAINTANCE_TIME_LIMIT_MS = 20_000

/** @returns when they know each other and all replicas of the master: from then on they can replace it */
export async function startSentinel({ masterName, master, count = 3 }: SentinelOptions): Promise<SentinelGroup> {
  const quorum = Math.floor(count / 2) + 1
  const replicaCount = await connectedReplicaCount(master)
  const sentinels = await startTogether(
    count,
    () =>
      startProcess({
        product: 'redis',
        args: ['--sentinel'],
        settings: () => [
          `sentinel monitor ${masterName} ${master.host} ${master.port} ${quorum}`,
          `sentinel down-after-milliseconds ${masterName} ${DOWN_AFTER_MS}`,
          `sentinel failover-timeout ${masterName} ${FAILOVER_TIMEOUT_MS}`,
        ],
      }),
    (all) =>
      until(
        async () => {
          const views = await Promise.all(all.map((sentinel) => viewOf(sentinel, masterName)))
          return views.every((view) => view.sentinelCount === count && view.replicaCount === replicaCount)
        },
        { withinMs: ACQUAINTANCE_TIME_LIMIT_MS, everyMs: 100, what: 'The acquaintance of the sentinels' },
      ),
  )
  return {
    masterName,
    sentinels,
    async masterAddress() {
      const [host, port] = await Promise.any(
        sentinels.map(async (sentinel) => {
          const address = await command(sentinel, 'SENTINEL', 'GET-MASTER-ADDR-BY-NAME', masterName)
          return address as [string, string]
        }),
      )
      return { host, port: Number(port) }
    },
    stop: () => stopAll(sentinels),
  }
}

async function connectedReplicaCount(master: RedisProcess): Promise<number> {
  const info = String(await command(master, 'INFO', 'replication'))
  return Number(/^connected_slaves:(\d+)/m.exec(info)?.[1])
}

/** What a sentinel knows: itself counts as a sentinel. */
async function viewOf(
  sentinel: RedisProcess,
  masterName: string,
): Promise<{ readonly sentinelCount: number; readonly replicaCount: number }> {
  const fields = (await command(sentinel, 'SENTINEL', 'MASTER', masterName)) as string[]
  const countOf = (name: string): number => Number(fields[fields.indexOf(name) + 1])
  return { sentinelCount: countOf('num-other-sentinels') + 1, replicaCount: countOf('num-slaves') }
}
