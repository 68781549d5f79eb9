/**
 * The Lua scripts: one file each in `lua/`, with the shared parts prepended. Times and limits are compiled in, so that
 * a call sends only its own arguments.
 */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { BOUNDS, DEFAULT_SESSION_ID } from '../../presence/bounds.ts'
import { MAX_RECORD_BYTES, SEED_MEMORY_MS } from '../../presence/store.ts'
import { lateAfterMs, type PresenceTiming } from '../../presence/timing.ts'

const FOLDER = new URL('./lua/', import.meta.url)
/** In the order of dependence: each part may use those before it. */
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
  'count-kept',
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
  /** Records kept while the database is unreachable: about 100 MB, one hour at 50 sessions a second. */
  recordsKept: 200_000,
  recordBytes: MAX_RECORD_BYTES,
  /** A command whose answer did not arrive in time takes effect within seconds, or never. */
  refusedForMs: 60_000,
  /** An answer of about 300 KB. */
  lossesAtOnce: 5000,
  dismissalsKept: 10_000,
  /** A node that was cut off for longer starts with a new id anyway. */
  lossesKeptMs: 24 * 3_600_000,
  /** Must be longer than an adoption takes. */
  goneKeptMs: 600_000,
  answerBytes: 1_000_000,
  /** Most bytes of room names that a log entry lists: about ten rooms. */
  listedRoomBytes: 512,
  /** Most bytes of room changes in a message: enough for all rooms of a session that begins or ends. */
  messageRoomBytes: 20_000,
} as const

export interface ScriptOptions {
  readonly timing: PresenceTiming
  /** A test lowers these three bounds to exceed them. */
  readonly recordsKept?: number
  readonly recordBytes?: number
  readonly listedRoomBytes?: number
  /** Replaces the text of a shared part, for a test that controls the clock. */
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
    // check-rights runs before all others and calls no command, so it needs no shared part.
    const ownHead = name === 'check-rights' ? `local COMMANDS = { '${commands.join("', '")}' }` : head
    const source = `${ownHead}\n${body}`
    return [name, { source, sha: createHash('sha1').update(source).digest('hex') }] as const
  })
  return Object.fromEntries(scripts) as Record<ScriptName, Script>
}

/** The commands that the scripts call. The user of REDIS_URL needs the right to each of them, besides EVALSHA. */
export function commandsOf(sources: readonly string[]): readonly string[] {
  const called = sources.flatMap((source) => [...source.matchAll(/redis\.p?call\(\s*'([A-Z]+)'/g)])
  return [...new Set(called.map(([, name]) => String(name)))].sort()
}

function sweepLimits({ sweepIntervalMs }: PresenceTiming) {
  return {
    sweepLateMs: lateAfterMs(sweepIntervalMs),
    /** A sweep may be delayed by this much without being taken for a step of the clock. */
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
