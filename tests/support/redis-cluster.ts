/**
 * A Redis cluster of masters, each with its share of the slots.
 */
import { type RedisServer, startRedis } from './redis.ts'
import { command, startTogether, stopAll } from './redis-process.ts'
import { until } from './wait.ts'

export interface RedisCluster {
  /** In the order of their slots. */
  readonly nodes: readonly RedisServer[]
  stop(): Promise<void>
}

const SLOT_COUNT = 16_384
/** The least of a cluster that can agree on which of its nodes is dead. */
const MASTER_COUNT = 3
/** How long a node is silent before the others take it for dead. By default 15 s. */
const NODE_TIMEOUT_MS = 2_000
const FORMATION_TIME_LIMIT_MS = 20_000

/** @returns when each node knows all of them and who serves which slot */
export async function startCluster(): Promise<RedisCluster> {
  const nodes = await startTogether(
    MASTER_COUNT,
    () => startRedis({ args: ['--cluster-enabled', 'yes', '--cluster-node-timeout', `${NODE_TIMEOUT_MS}`] }),
    async (all) => {
      await Promise.all(all.map((node, index) => command(node, 'CLUSTER', 'ADDSLOTSRANGE', ...slotsOf(index))))
      const [first, ...others] = all
      for (const other of others) await command(first as RedisServer, 'CLUSTER', 'MEET', other.host, other.port)
      await until(async () => (await Promise.all(all.map(isFormed))).every(Boolean), {
        withinMs: FORMATION_TIME_LIMIT_MS,
        everyMs: 100,
        what: 'The formation of the cluster',
      })
    },
  )
  return { nodes, stop: () => stopAll(nodes) }
}

/** @returns the first and the last */
function slotsOf(index: number): [number, number] {
  const firstOf = (at: number): number => Math.floor((SLOT_COUNT * at) / MASTER_COUNT)
  return [firstOf(index), firstOf(index + 1) - 1]
}

async function isFormed(node: RedisServer): Promise<boolean> {
  const info = String(await command(node, 'CLUSTER', 'INFO'))
  return info.includes('cluster_state:ok') && info.includes(`cluster_known_nodes:${MASTER_COUNT}`)
}
