/**
 * The embedded database: its folder, and the thread that it runs in.
 *
 * The thread is started again whenever it ends by itself or is told to `restart`. PGlite never calls fsync: what it
 * wrote survives a kill of the process, and not a loss of power.
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
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import type { OperatorLog } from '../presence/operator-log.ts'
import type { EmbeddedWorkerData } from './embedded-worker.ts'
import { lockFolder } from './folder-lock.ts'

export interface EmbeddedDatabase {
  /** The unix socket that takes one connection. */
  readonly socketPath: string
  /** Resolves when the thread listens. Waits for as long as it is being started again. */
  ready(): Promise<void>
  /** Kills the thread, whatever it does, and starts it again. */
  restart(reason: string): void
  /** Resolves when everything is in the files. */
  close(): Promise<void>
}

export interface EmbeddedOptions {
  readonly folder: string
  readonly log: OperatorLog
  readonly templatePath?: string
}

/** sun_path of unix(7) holds 108 bytes with the one that ends it. */
const SOCKET_PATH_BYTES = 107
/** What this file puts into the folder, and what a new file system has in its root. */
const OWN_NAMES = new Set(['lock', 'postgres', 'complete', 'socket', 'lost+found'])
const MOST_RESTART_DELAY_MS = 10_000
/** Without a template a start takes 4 s; ten times that on a slow disk. */
const START_TIME_LIMIT_MS = 60_000
const CLOSE_TIME_LIMIT_MS = 10_000

/** An empty database, to be copied: `npm run build` makes it, beside the compiled code. Without it initdb takes 4 s. */
export const TEMPLATE_PATH = fileURLToPath(new URL('../../dist/pglite-template', import.meta.url))

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
      // What an interrupted first start left holds nothing that anyone was told is there.
      rmSync(dataFolder, { recursive: true, force: true })
      if (existsSync(templatePath)) {
        cpSync(templatePath, dataFolder, { recursive: true, mode: constants.COPYFILE_FICLONE })
      }
    }
    const worker = createWorker({ folder: dataFolder, socketPath })
    const exited = new Promise<void>((done) => worker.once('exit', () => done()))
    await untilListening(worker)
    writeFileSync(completeMark, '')
    worker.on('error', (error) => log.error({ err: error }, 'The embedded database failed.'))
    return { worker, exited }
  }

  /** Starts the next thread when one has ended, and not before: two must not have the folder. */
  async function supervise(): Promise<void> {
    for (;;) {
      await thread.exited
      if (isClosing) return
      // After a `restart` it is a new one already, and connections wait for that one.
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
      // A start that was under way when the close came.
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
  // Without the arguments of this process: a loader among them would be registered twice.
  return new Worker(new URL(file, import.meta.url), { workerData, execArgv: [] })
}

function prepareFolder(folder: string): void {
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const stranger = readdirSync(folder).find((name) => !OWN_NAMES.has(name) && !name.startsWith('lock.'))
  if (stranger !== undefined) {
    throw new Error(`DATA_DIR must be a folder of its own, and ${folder} holds ${JSON.stringify(stranger)}.`)
  }
  // PGlite's files may be read by everyone; the folder keeps others out.
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
