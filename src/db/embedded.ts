/**
 * The embedded database: its folder, and the thread that runs it.
 *
 * The thread restarts if it ends by itself or `restart` is called. PGlite never calls fsync: its writes survive a kill
 * of the process, but not a loss of power.
 */
import {
  chmodSync,
  constants,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import type { OperatorLog } from '../presence/operator-log.ts'
import type { EmbeddedWorkerData } from './embedded-worker.ts'
import { lockFolder } from './folder-lock.ts'

export interface EmbeddedDatabase {
  /** The Unix socket, which accepts one connection. */
  readonly socketPath: string
  /** Resolves when the thread listens. During a restart it waits for the new thread. */
  ready(): Promise<void>
  /** Kills the thread, even during a query, and starts it again. */
  restart(reason: string): void
  /** Resolves when all data is in the files. */
  close(): Promise<void>
}

export interface EmbeddedOptions {
  readonly folder: string
  readonly log: OperatorLog
  readonly templatePath?: string
}

/** `sun_path` of unix(7) holds 108 bytes, including the terminating zero. */
const SOCKET_PATH_BYTES = 107
/** Files that this module creates in the folder, and `lost+found`, which a new file system has in its root. */
const OWN_NAMES = new Set(['lock', 'postgres', 'complete', 'socket', 'lost+found'])
const MOST_RESTART_DELAY_MS = 10_000
/** A start without a template takes 4 s, and ten times that on a slow disk. */
const START_TIME_LIMIT_MS = 60_000
const CLOSE_TIME_LIMIT_MS = 10_000

/** An empty database to copy. `npm run build` creates it beside the compiled code. Without it initdb takes 4 s. */
export const TEMPLATE_PATH = fileURLToPath(new URL('../../dist/pglite-template', import.meta.url))
/**
 * A file in each folder of the template that is otherwise empty. A package carries no empty folders, and without them
 * Postgres does not start. It is not copied.
 */
export const PLACEHOLDER = '.keep'

export async function openEmbedded({
  folder: givenFolder,
  log,
  templatePath = TEMPLATE_PATH,
}: EmbeddedOptions): Promise<EmbeddedDatabase> {
  const folder = resolve(givenFolder)
  prepareFolder(folder)
  const lock = await lockFolder(folder)
  const socket = socketIn(folder)
  try {
    return await startThread({
      folder,
      socketPath: socket.path,
      templatePath,
      log,
      release() {
        socket.remove()
        lock.release()
      },
    })
  } catch (error) {
    socket.remove()
    lock.release()
    throw new Error(`The embedded database in ${folder} did not start.`, { cause: error })
  }
}

interface Thread {
  readonly worker: Worker
  readonly exited: Promise<void>
}

async function startThread({
  folder,
  socketPath,
  templatePath,
  log,
  release,
}: {
  readonly folder: string
  readonly socketPath: string
  readonly templatePath: string
  readonly log: OperatorLog
  release(): void
}): Promise<EmbeddedDatabase> {
  const dataFolder = join(folder, 'postgres')
  const completeMark = join(folder, 'complete')
  const closing = deferred()
  let isClosing = false
  let listening = deferred()
  let thread = await start()
  listening.resolve()
  const supervised = supervise()

  async function start(): Promise<Thread> {
    if (!existsSync(completeMark)) {
      // An interrupted first start acknowledged no write, so its files can be deleted.
      rmSync(dataFolder, { recursive: true, force: true })
      if (existsSync(templatePath)) {
        cpSync(templatePath, dataFolder, {
          recursive: true,
          mode: constants.COPYFILE_FICLONE,
          filter: (path) => basename(path) !== PLACEHOLDER,
        })
      }
    }
    const worker = createWorker({ folder: dataFolder, socketPath })
    const exited = new Promise<void>((done) => worker.once('exit', () => done()))
    await untilListening(worker)
    writeFileSync(completeMark, '')
    worker.on('error', (error) => log.error({ err: error }, 'The embedded database failed.'))
    return { worker, exited }
  }

  /** Starts the next thread only after the last one has ended: two threads must not use the folder at once. */
  async function supervise(): Promise<void> {
    for (;;) {
      await thread.exited
      if (isClosing) return
      // `restart` has replaced `listening` already, and connections wait for that promise.
      if (listening.isResolved()) listening = deferred()
      log.error({}, 'The embedded database ended, and is started again.')
      for (let failedCount = 0; ; failedCount += 1) {
        try {
          thread = await start()
          break
        } catch (error) {
          log.error({ err: error }, 'The embedded database did not start.')
          await Promise.race([closing.promise, sleep(Math.min(200 * 2 ** failedCount, MOST_RESTART_DELAY_MS))])
          if (isClosing) return
        }
      }
      listening.resolve()
      log.info({}, 'The embedded database is back.')
    }
  }

  return {
    socketPath,
    ready: () => listening.promise,

    restart(reason) {
      if (isClosing || !listening.isResolved()) return
      listening = deferred()
      log.error({ reason }, 'The embedded database is killed.')
      void thread.worker.terminate()
    },

    async close() {
      if (isClosing) return
      isClosing = true
      closing.resolve()
      await stop(thread)
      await supervised
      // A start that was under way when `close` was called may have made a new thread.
      await stop(thread)
      release()
    },
  }
}

async function untilListening(worker: Worker): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  try {
    await new Promise<void>((ready, fail) => {
      worker.once('message', () => ready())
      worker.once('error', fail)
      worker.once('exit', (code) => fail(new Error(`Its thread ended with ${code} before it listened.`)))
      timer = setTimeout(
        () => fail(new Error(`It did not listen within ${START_TIME_LIMIT_MS} ms.`)),
        START_TIME_LIMIT_MS,
      )
    })
  } catch (error) {
    await worker.terminate()
    throw error
  } finally {
    clearTimeout(timer)
  }
}

async function stop({ worker, exited }: Thread): Promise<void> {
  worker.postMessage('close')
  const timer = setTimeout(() => void worker.terminate(), CLOSE_TIME_LIMIT_MS)
  await exited
  clearTimeout(timer)
}

function createWorker(workerData: EmbeddedWorkerData): Worker {
  const file = import.meta.url.endsWith('.ts') ? './embedded-worker-source.mjs' : './embedded-worker.js'
  // Do not inherit this process's arguments: a loader among them would be registered twice.
  return new Worker(new URL(file, import.meta.url), { workerData, execArgv: [] })
}

function prepareFolder(folder: string): void {
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const stranger = readdirSync(folder).find((name) => !OWN_NAMES.has(name) && !name.startsWith('lock.'))
  if (stranger !== undefined) {
    throw new Error(`DATA_DIR must be a folder of its own, and ${folder} holds ${JSON.stringify(stranger)}.`)
  }
  // PGlite's files are readable by everyone; the folder's mode keeps other users out.
  chmodSync(folder, 0o700)
}

function socketIn(folder: string): { readonly path: string; remove(): void } {
  const path = join(folder, 'socket')
  if (Buffer.byteLength(path) <= SOCKET_PATH_BYTES) return { path, remove: () => rmSync(path, { force: true }) }
  const elsewhere = mkdtempSync(join(tmpdir(), 'rollcall-'))
  return { path: join(elsewhere, 'socket'), remove: () => rmSync(elsewhere, { recursive: true, force: true }) }
}

function deferred(): { readonly promise: Promise<void>; resolve(): void; isResolved(): boolean } {
  let isResolved = false
  let settle = (): void => {}
  const promise = new Promise<void>((done) => {
    settle = done
  })
  return {
    promise,
    isResolved: () => isResolved,
    resolve() {
      isResolved = true
      settle()
    },
  }
}
