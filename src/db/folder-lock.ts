/**
 * The lock of the embedded database's folder: two processes using it would lose each other's writes without an error.
 *
 * A file names the process that holds the lock. The lock is stale if that process has ended or its id belongs to
 * another process now. If the ids cannot be compared (another container, another machine, the same machine before a
 * reboot), the file's mtime decides: the holder touches the file every second.
 */
import { randomUUID } from 'node:crypto'
import { linkSync, readFileSync, readlinkSync, renameSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

const TOUCH_EVERY_MS = 1000
/** Five touches, since a busy process may miss one or two. */
const WATCH_FOR_MS = 5000

interface Holder {
  readonly pid: number
  /** The start time of the process, which distinguishes it from a later one with the same id. Null if unknown. */
  readonly startedAt: string | null
  /** Identifies the namespace in which process ids are comparable. */
  readonly pidSpace: string
}

/** @throws Error that tells what to do, if a living process holds the folder */
export async function lockFolder(folder: string): Promise<{ release(): void }> {
  const path = join(folder, 'lock')
  const ours = JSON.stringify({ ...thisProcess(), nonce: randomUUID() })

  // Each round takes the lock, finds its holder, or sees that it changed hands.
  for (let round = 0; round < 10; round += 1) {
    if (wroteNew(path, ours)) return heldLock(path, ours)
    const found = textOf(path)
    if (found === null) continue
    if (await isHeld(path, found)) throw new Error(refusal(folder, parseHolder(found)))
    takeAway(path, found)
  }
  throw new Error(refusal(folder, null))
}

function heldLock(path: string, ours: string): { release(): void } {
  const touch = setInterval(() => {
    const now = new Date()
    try {
      utimesSync(path, now, now)
    } catch {
      // Another process removed the file, so there is nothing to touch.
    }
  }, TOUCH_EVERY_MS)
  touch.unref()
  return {
    release() {
      clearInterval(touch)
      if (textOf(path) === ours) rmSync(path, { force: true })
    },
  }
}

async function isHeld(path: string, text: string): Promise<boolean> {
  const holder = parseHolder(text)
  const us = thisProcess()
  if (holder === null || holder.pidSpace !== us.pidSpace) return await isTouched(path)
  if (holder.startedAt !== null) return startOf(holder.pid) === holder.startedAt
  return isRunning(holder.pid)
}

async function isTouched(path: string): Promise<boolean> {
  const seenMs = touchedAtMs(path)
  for (let waitedMs = 0; waitedMs < WATCH_FOR_MS; waitedMs += 250) {
    await sleep(250)
    if (touchedAtMs(path) !== seenMs) return true
  }
  return false
}

/** Removes the lock that was read, but not a newer one in its place. */
function takeAway(path: string, found: string): void {
  const aside = `${path}.${randomUUID()}`
  try {
    renameSync(path, aside)
  } catch {
    return
  }
  // Another process was faster, and this is its lock: put it back.
  if (textOf(aside) !== found) {
    try {
      linkSync(aside, path)
    } catch {
      // A third process has the lock by now; the next round reads it.
    }
  }
  rmSync(aside, { force: true })
}

function refusal(folder: string, holder: Holder | null): string {
  const who = holder === null ? 'Another process' : `The process ${holder.pid}`
  return (
    `${who} has the database folder ${folder} (${join(folder, 'lock')}). ` +
    'Stop it, or give this one a DATA_DIR of its own, or let both use one Postgres by DATABASE_URL.'
  )
}

function wroteNew(path: string, text: string): boolean {
  try {
    writeFileSync(path, text, { flag: 'wx', mode: 0o600 })
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
}

function textOf(path: string): string | null {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return null
  }
}

function touchedAtMs(path: string): number | null {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? null
}

function parseHolder(text: string): Holder | null {
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value !== 'object' || value === null) return null
    const { pid, startedAt, pidSpace } = value as Record<string, unknown>
    if (typeof pid !== 'number' || typeof pidSpace !== 'string') return null
    return { pid, startedAt: typeof startedAt === 'string' ? startedAt : null, pidSpace }
  } catch {
    return null
  }
}

function thisProcess(): Holder {
  return { pid: process.pid, startedAt: startOf(process.pid), pidSpace: pidSpace() }
}

/** Field 22 of /proc/<pid>/stat (proc(5)); the name before it may contain spaces and brackets. Null: no process. */
function startOf(pid: number): string | null {
  const stat = textOf(`/proc/${pid}/stat`)
  if (stat === null) return null
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? null
}

function pidSpace(): string {
  try {
    return `${readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()} ${readlinkSync('/proc/self/ns/pid')}`
  } catch {
    return hostname()
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}
