/** What can break, and how each is made and mended. */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { command } from '../support/redis-process.ts'
import type { Random } from './random.ts'
import type { Node, World } from './world.ts'

export interface Fault {
  readonly name: string
  /** Nodes that were away alone for longer than a lease and a grace may be: others may see their users leave. */
  readonly isolated: readonly Node[]
}

/** Short: less than a lease (`NODE_TTL`, 2 s in these tests). Long: more than a lease and a grace together. */
const SHORT_MS = [200, 1000] as const
const LONG_MS = [4500, 5500] as const

type Make = (world: World, random: Random) => Promise<Fault>

export const FAULTS: Readonly<Record<string, Make>> = {
  async flush({ redis }) {
    await command(redis, 'FLUSHALL')
    return named('FLUSHALL')
  },

  async restartEmpty({ redis }, random) {
    await rm(await dumpPath(redis), { force: true })
    await redis.kill()
    await sleep(random.between(0, 3000))
    await redis.restart()
    return named('Redis killed and restarted empty')
  },

  /** As a replica that lacks the last writes: what was told of them is not there, and others get their numbers. */
  async restartOlder({ redis }, random) {
    await command(redis, 'SAVE')
    await sleep(random.between(300, 1500))
    await redis.kill()
    await redis.restart()
    await rm(await dumpPath(redis), { force: true })
    return named('Redis killed and restarted with older data')
  },

  async pauseRedis({ redis }, random) {
    redis.pause()
    await sleep(random.between(500, 5000))
    redis.resume()
    return named('Redis stopped for a while, with its data')
  },

  async cutAll({ nodes }, random) {
    for (const { wire } of nodes) wire.refuse()
    await sleep(random.between(500, 5000))
    for (const { wire } of nodes) wire.mend()
    return named('the links of all nodes cut')
  },

  async silenceAll({ nodes }, random) {
    for (const { wire } of nodes) wire.fallSilent()
    await sleep(random.between(500, 5000))
    for (const { wire } of nodes) wire.mend()
    return named('the links of all nodes silent')
  },

  cutOneShortly: (world, random) => breakWire(world, random, 'refuse', SHORT_MS),
  cutOneLong: (world, random) => breakWire(world, random, 'refuse', LONG_MS),
  silenceOneShortly: (world, random) => breakWire(world, random, 'fallSilent', SHORT_MS),
  silenceOneLong: (world, random) => breakWire(world, random, 'fallSilent', LONG_MS),
  loseAnswers: (world, random) => breakWire(world, random, 'loseAnswers', SHORT_MS),

  async cutEverySocket({ nodes }, random) {
    for (let count = 0; count < 5; count += 1) {
      random.pick(nodes).wire.cut()
      await sleep(random.between(20, 200))
    }
    return named('links cut again and again')
  },

  async killNode({ nodes }, random) {
    const node = random.pick(nodes)
    await node.kill()
    await sleep(random.between(0, 1000))
    await node.restart()
    return { name: 'a node killed and restarted', isolated: [node] }
  },

  stopNodeShortly: (world, random) => stopNode(world, random, SHORT_MS),
  stopNodeLong: (world, random) => stopNode(world, random, LONG_MS),

  async forgetScripts({ redis }) {
    await command(redis, 'SCRIPT', 'FLUSH')
    return named('the scripts forgotten')
  },

  async deafen({ redis }) {
    await command(redis, 'CLIENT', 'KILL', 'TYPE', 'pubsub')
    return named('the listening connections killed')
  },
}

async function dumpPath(redis: World['redis']): Promise<string> {
  const [, folder] = (await command(redis, 'CONFIG', 'GET', 'dir')) as [string, string]
  return join(folder, 'dump.rdb')
}

function named(name: string): Fault {
  return { name, isolated: [] }
}

async function breakWire(
  { nodes }: World,
  random: Random,
  how: 'refuse' | 'fallSilent' | 'loseAnswers',
  [least, most]: readonly [number, number],
): Promise<Fault> {
  const node = random.pick(nodes)
  const ms = random.between(least, most)
  node.wire[how]()
  await sleep(ms)
  node.wire.mend()
  return { name: `one link: ${how} for ${Math.round(ms)} ms`, isolated: least >= LONG_MS[0] ? [node] : [] }
}

async function stopNode({ nodes }: World, random: Random, [least, most]: readonly [number, number]): Promise<Fault> {
  const node = random.pick(nodes)
  const ms = random.between(least, most)
  const { child } = node.process()
  child.kill('SIGSTOP')
  await sleep(ms)
  child.kill('SIGCONT')
  return { name: `a node stopped for ${Math.round(ms)} ms`, isolated: least >= LONG_MS[0] ? [node] : [] }
}
