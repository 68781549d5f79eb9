/**
 * The Lua scripts: one file each in `lua/`, behind the parts that they share. How long things last is compiled in, so
 * that a call carries only what it is about.
 */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { BOUNDS, DEFAULT_SESSION_ID } from '../../presence/bounds.ts'
import { MAX_RECORD_BYTES, SEED_MEMORY_MS } from '../../presence/store.ts'
import { lateAfterMs, type PresenceTiming } from '../../presence/timing.ts'

const FOLDER = new URL('./lua/', import.meta.url)
/** In the order in which they build on each other. */
const SHARED = ['time', 'state', 'user', 'steps', 'trail', 'commit', 'sockets'] as const

const SCRIPT_NAMES = [
  'ack-records',
  'adopt',
  'adopted',
  'announced',
  'attach',
  'beat',
  'change-room',
  'check-rights',
  'count',
  'detach',
  'end',
  'end-node',
  'forget',
  'inherited',
  'join-epoch',
  'lookup',
  'page',
  'position',
  'read-changes',
  'read-records',
  'reap-nodes',
  'renew-node',
  'set-user',
  'snapshot',
  'stats',
  'sweep',
  'take-budgets',
  'viewer',
] as const
export type ScriptName = (typeof SCRIPT_NAMES)[number]

export interface Script {
  readonly source: string
  readonly sha: string
}
export type Scripts = Readonly<Record<ScriptName, Script>>

const LIMITS = {
  defaultSessionId: DEFAULT_SESSION_ID,
  roomsPerSession: BOUNDS.roomsPerSession,
  seedMemoryMs: SEED_MEMORY_MS,
  /** Records that wait for a database that is away: some 100 MB, an hour at 50 sessions a second. */
  recordsKept: 200_000,
  recordBytes: MAX_RECORD_BYTES,
  /** A command whose answer did not come in time is executed within seconds, or never. */
  refusedForMs: 60_000,
  /** An answer of some 300 KB. */
  lossesAtOnce: 5000,
  dismissalsKept: 10_000,
  /** A node that was away for longer starts with a new id anyway. */
  lossesKeptMs: 24 * 3_600_000,
  /** Longer than an adoption takes. */
  goneKeptMs: 600_000,
  answerBytes: 1_000_000,
  /** The names of so many rooms stand in a log entry: some ten. */
  listedRoomBytes: 512,
  /** Changes that a message says: all rooms of a session that begins or ends. */
  messageRoomBytes: 20_000,
} as const

export interface ScriptOptions {
  readonly timing: PresenceTiming
  /** Fewer, for a test of what happens beyond it. */
  readonly recordsKept?: number
  readonly recordBytes?: number
  readonly listedRoomBytes?: number
  /** Another text of a shared part, for a test that owns the clock. */
  readonly shared?: Partial<Readonly<Record<(typeof SHARED)[number], string>>>
}

export function loadScripts({
  timing,
  recordsKept = LIMITS.recordsKept,
  recordBytes = LIMITS.recordBytes,
  listedRoomBytes = LIMITS.listedRoomBytes,
  shared = {},
}: ScriptOptions): Scripts {
  const head = [
    `local timing = ${luaTable(timing)}`,
    `local limits = ${luaTable({ ...LIMITS, recordsKept, recordBytes, listedRoomBytes, ...sweepLimits(timing) })}`,
    ...SHARED.map((part) => shared[part] ?? read(`shared/${part}.lua`)),
  ].join('\n')
  const bodies = SCRIPT_NAMES.map((name) => [name, read(`${name}.lua`)] as const)
  const commands = commandsOf([head, ...bodies.map(([, body]) => body)])
  const scripts = bodies.map(([name, body]) => {
    // It comes before all others, and calls nothing.
    const ownHead = name === 'check-rights' ? `local COMMANDS = { '${commands.join("', '")}' }` : head
    const source = `${ownHead}\n${body}`
    return [name, { source, sha: createHash('sha1').update(source).digest('hex') }] as const
  })
  return Object.fromEntries(scripts) as Record<ScriptName, Script>
}

/** The commands that these scripts call: what a node's user must be allowed beside EVALSHA. */
export function commandsOf(sources: readonly string[]): readonly string[] {
  const called = sources.flatMap((source) => [...source.matchAll(/redis\.p?call\(\s*'([A-Z]+)'/g)])
  return [...new Set(called.map(([, name]) => String(name)))].sort()
}

function sweepLimits({ sweepIntervalMs }: PresenceTiming) {
  return {
    sweepLateMs: lateAfterMs(sweepIntervalMs),
    /** So long a sweep may be on its way, and is not taken for a step of the clock. */
    stepForwardMs: sweepIntervalMs,
  }
}

function read(path: string): string {
  return readFileSync(new URL(path, FOLDER), 'utf8')
}

function luaTable(values: object): string {
  const fields = Object.entries(values).map(([name, value]) => `${name} = ${JSON.stringify(value)}`)
  return `{ ${fields.join(', ')} }`
}
