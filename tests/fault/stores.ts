/** The product as it is by default, on each of its stores, with somebody who watches everyone at each process. */
import type { SettingTexts } from '../../src/config.ts'
import { startProcess } from '../support/process.ts'
import { DEFAULTS, postgresData, type TestServer } from '../support/server.ts'
import { until } from '../support/wait.ts'
import { type Seen, type Watcher, watch } from './watcher.ts'
import { openWorld } from './world.ts'

type Process = Pick<TestServer, 'url' | 'wsUrl'>

export interface Place {
  readonly processes: readonly Process[]
  readonly watchers: readonly Watcher[]
  close(): Promise<void>
}

type Started = Omit<Place, 'watchers'>

export const STORES: readonly {
  readonly name: string
  readonly open: (settings?: SettingTexts) => Promise<Place>
}[] = [
  { name: 'one process, in memory', open: async (settings) => watched(await openMemory(settings)) },
  { name: 'two processes, on Redis', open: async (settings) => watched(await openRedis(settings)) },
]

async function openMemory(settings: SettingTexts = {}): Promise<Started> {
  const data = await postgresData()
  const server = await startProcess({ ...data.settings, ...DEFAULTS, ...settings })
  return {
    processes: [server],
    async close() {
      await server.end('SIGKILL')
      await data.drop()
    },
  }
}

async function openRedis(settings: SettingTexts = {}): Promise<Started> {
  const { nodes, close } = await openWorld({ nodeCount: 2, settings: { ...DEFAULTS, ...settings } })
  return { processes: nodes.map((node) => ({ url: node.url(), wsUrl: node.wsUrl() })), close }
}

function watched({ processes, close }: Started): Place {
  const watchers = processes.map((process, index) => watch(`watcher-${index}`, () => process))
  return {
    processes,
    watchers,
    async close() {
      await Promise.all(watchers.map((watcher) => watcher.stop()))
      await close()
    },
  }
}

export async function untilSeenToJoin({ watchers }: Place, ids: readonly string[]): Promise<void> {
  await until(() => watchers.every(({ picture }) => ids.every((id) => picture().has(id))), {
    withinMs: 60_000,
    what: 'the sight of everybody',
  })
}

/** @returns what each watcher saw, one after the other */
export async function untilSeenToLeave({ watchers }: Place, ids: readonly string[]): Promise<readonly Seen[]> {
  await until(() => watchers.every(({ picture }) => ids.every((id) => !picture().has(id))), {
    withinMs: 40_000,
    what: 'the departure of everybody',
  })
  const them = new Set(ids)
  return watchers.flatMap(({ changes }) => changes.filter(({ kind, userId }) => kind === 'LEAVE' && them.has(userId)))
}

/** What was seen of them beside the JOIN with which each came, a sentence each. */
export function seenOf({ watchers }: Place, ids: readonly string[]): readonly string[] {
  return watchers.flatMap(({ name, changes }) => {
    const outside = new Set(ids)
    const inside = new Set<string>()
    return changes
      .filter(({ kind, userId }) => {
        if (kind === 'JOIN' && outside.delete(userId)) {
          inside.add(userId)
          return false
        }
        return outside.has(userId) || inside.has(userId)
      })
      .map(({ kind, userId }) => `${name}: ${kind} ${userId}`)
  })
}
