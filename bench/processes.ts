/** What a run starts and makes, and takes away again however it ends. */
import { fork, type Serializable } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { constants, tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { withinTime } from '../src/presence/time-limit.ts'

export interface Child {
  readonly pid: number
  /** The first line of its output that is JSON with this field. Rejects where it ends without. */
  said(field: string): Promise<string>
  /** Sends a message by IPC, and resolves with the next one that comes back. */
  ask(message: Serializable): Promise<unknown>
  stop(): Promise<void>
}

const ERROR_TEXT_LENGTH = 5000
/** Ten thousand clients connect within a minute. */
const ANSWER_WITHIN_MS = 300_000
const TOO_LATE = Symbol('too late')

/** What is to be undone, the last thing first. */
const undoings: (() => Promise<void>)[] = []

/** @param undo - called once: by the function that this returns, or at the end of the run */
export function toBeUndone(undo: () => Promise<void>): () => Promise<void> {
  let undone: Promise<void> | null = null
  const undoing = (): Promise<void> => {
    undone ??= undo()
    return undone
  }
  undoings.push(undoing)
  return undoing
}

let undoingAll: Promise<void> | null = null

/** Resolves when nothing is left, whoever began it. */
export function undoAll(): Promise<void> {
  undoingAll ??= undoInTurn()
  return undoingAll
}

async function undoInTurn(): Promise<void> {
  for (const undo of undoings.reverse()) await undo().catch(() => {})
}

/** From here on a signal ends the run, and leaves nothing behind. */
export function undoOnSignals(): void {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => {
      void undoAll().finally(() => process.exit(128 + constants.signals[signal]))
    })
  }
}

export function temporaryFolder(): { readonly path: string; remove(): Promise<void> } {
  const path = mkdtempSync(join(tmpdir(), 'rollcall-bench-'))
  return { path, remove: toBeUndone(async () => rmSync(path, { recursive: true, force: true })) }
}

export interface NodeOptions {
  readonly args?: readonly string[]
  readonly environment?: Readonly<Record<string, string>>
  /** Of Node itself. */
  readonly flags?: readonly string[]
}

/** Starts a Node process with a channel to it. It has no more of our environment than the path. */
export function startNode(script: string, { args = [], environment = {}, flags = [] }: NodeOptions = {}): Child {
  const child = fork(script, args, {
    env: { PATH: process.env.PATH, ...environment },
    execArgv: [...flags],
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  })
  let errorText = ''
  child.stderr?.on('data', (chunk) => {
    errorText = (errorText + String(chunk)).slice(-ERROR_TEXT_LENGTH)
  })
  const lines = createInterface({ input: child.stdout as NodeJS.ReadableStream })
  const exited = once(child, 'exit')
  const ended = exited.then(([code, signal]) => {
    throw new Error(`${script} ended with ${code ?? signal}: ${errorText}`)
  })
  ended.catch(() => {})

  return {
    pid: Number(child.pid),

    said(field) {
      const found = new Promise<string>((resolve) => {
        lines.on('line', (line) => {
          const value = fieldOf(line, field)
          if (value !== null) resolve(value)
        })
      })
      return Promise.race([found, ended])
    },

    async ask(message) {
      const answered = once(child, 'message').then(([answer]) => answer)
      child.send(message)
      const answer = await withinTime(Promise.race([answered, ended]), ANSWER_WITHIN_MS, TOO_LATE)
      if (answer === TOO_LATE) throw new Error(`${script} did not answer within ${ANSWER_WITHIN_MS} ms.`)
      return answer
    },

    // Killed, not asked: nothing that it has is needed any more, and a server would take leave of each client.
    stop: toBeUndone(async () => {
      child.kill('SIGKILL')
      await exited
    }),
  }
}

function fieldOf(line: string, field: string): string | null {
  if (!line.startsWith('{')) return null
  const value = (JSON.parse(line) as Record<string, unknown>)[field]
  return typeof value === 'string' ? value : null
}
