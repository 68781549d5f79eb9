/**
 * One server process on a port and in a folder of its own, to be stopped, killed, frozen and started again.
 */
import type { ChildProcess } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { constants, tmpdir } from 'node:os'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import { freePort } from './free-port.ts'
import { type Launched, launch } from './launched.ts'
import { type Product, serverProgram } from './redis-program.ts'
import { until } from './wait.ts'

export interface RedisProcess {
  readonly url: string
  readonly host: string
  readonly port: number
  /** What to trust it by, where it speaks TLS. */
  readonly caPath: string | null
  /** Another one after each `restart`. */
  readonly child: ChildProcess
  /** Its log since it was started, or the end of it. */
  output(): string
  /** It dies where it stands (SIGKILL), and stays dead until `restart`. */
  kill(): Promise<void>
  /** It falls silent with its connections open (SIGSTOP). */
  pause(): void
  resume(): void
  /**
   * Starts it again on the same port and in the same folder, killed first where it still runs.
   *
   * Its configuration file is as the server itself last wrote it (`CONFIG REWRITE`), as in production.
   *
   * @param args - for this time, and above those of the first start
   */
  restart(options?: { readonly args?: readonly string[] }): Promise<void>
  /** Ends it and removes its folder. */
  stop(): Promise<void>
}

export interface ProcessOptions {
  readonly product: Product
  /** The lines of its first configuration file, after and above those for address, port and folder. */
  readonly settings: (place: { readonly folder: string; readonly port: number }) => readonly string[]
  readonly args?: readonly string[]
  /** Makes what `settings` need to speak TLS on the port, and tells by what to trust it. Without: no TLS. */
  readonly caPath?: (folder: string) => string
}

const START_TIME_LIMIT_MS = 15_000
const ANSWER_TIME_LIMIT_MS = 5_000

const HOST = '127.0.0.1'
/** Whom to end and what to remove when this process ends. */
const startedHere = new Map<RedisProcess, string>()

/** @returns when it answers PING */
export async function startProcess(options: ProcessOptions): Promise<RedisProcess> {
  const program = serverProgram(options.product)
  const folder = mkdtempSync(join(tmpdir(), `rollcall-${options.product}-`))
  const port = await freePort(HOST)
  const caPath = options.caPath?.(folder) ?? null
  const configPath = join(folder, 'server.conf')
  const place = [`bind ${HOST}`, `port ${port}`, `dir ${folder}`]
  writeFileSync(configPath, [...place, ...options.settings({ folder, port }), ''].join('\n'))
  let current = launchWith([])

  function launchWith(extraArgs: readonly string[]): Launched {
    const { path, calledAs } = program
    return launch(path, [configPath, ...(options.args ?? []), ...extraArgs], { argv0: calledAs, cwd: folder })
  }

  const kill = (): Promise<void> => current.kill()

  async function stop(): Promise<void> {
    await kill()
    startedHere.delete(server)
    rmSync(folder, { recursive: true, force: true })
  }

  async function untilAnswering(): Promise<void> {
    const { child, output, hasEnded } = current
    try {
      await until(
        () => {
          if (hasEnded()) throw new Error(`It ended with ${child.exitCode ?? child.signalCode}.`)
          // It may not listen yet, or still load its data.
          return isAnswering(server).catch(() => false)
        },
        { withinMs: START_TIME_LIMIT_MS, everyMs: 20, what: 'Its answer to PING' },
      )
    } catch (error) {
      await kill()
      throw new Error(`${program.calledAs} did not start on port ${port}:\n${output()}`, { cause: error })
    }
  }

  const server: RedisProcess = {
    url: `${caPath === null ? 'redis' : 'rediss'}://${HOST}:${port}`,
    host: HOST,
    port,
    caPath,
    get child() {
      return current.child
    },
    output: () => current.output(),
    kill,
    pause: () => void current.child.kill('SIGSTOP'),
    resume: () => void current.child.kill('SIGCONT'),
    async restart({ args = [] } = {}) {
      await kill()
      current = launchWith(args)
      await untilAnswering()
    },
    stop,
  }
  endWithUs(server, folder)
  try {
    await untilAnswering()
  } catch (error) {
    await stop()
    throw error
  }
  return server
}

/** That it is this process which answers, and no other that took the port meanwhile. */
async function isAnswering(server: RedisProcess): Promise<boolean> {
  if ((await command(server, 'PING')) !== 'PONG') return false
  return String(await command(server, 'INFO', 'server')).includes(`process_id:${server.child.pid}\r`)
}

/**
 * Sends one command over a connection of its own.
 *
 * @throws Error the server refused it, does not listen, or is silent for longer than ANSWER_TIME_LIMIT_MS
 */
export async function command(
  server: Pick<RedisProcess, 'host' | 'port' | 'caPath'>,
  name: string,
  ...args: readonly (string | number)[]
): Promise<unknown> {
  const client = new Redis({
    host: server.host,
    port: server.port,
    ...(server.caPath === null ? {} : { tls: { ca: readFileSync(server.caPath) } }),
    lazyConnect: true,
    enableReadyCheck: false,
    disableClientInfo: true,
    retryStrategy: () => null,
    connectTimeout: ANSWER_TIME_LIMIT_MS,
    commandTimeout: ANSWER_TIME_LIMIT_MS,
  })
  // The command tells less than the connection does.
  let cause: Error | undefined
  client.on('error', (error) => {
    cause = error
  })
  try {
    await client.connect()
    return await client.call(name, ...args)
  } catch (error) {
    throw cause ?? error
  } finally {
    client.disconnect()
  }
}

/**
 * Starts several servers that belong together.
 *
 * @param acquaint - what is left to do until they are one
 * @returns all of them; where one fails, the others are stopped
 */
export async function startTogether<Server extends RedisProcess>(
  count: number,
  startOne: () => Promise<Server>,
  acquaint: (servers: readonly Server[]) => Promise<unknown>,
): Promise<readonly Server[]> {
  const servers: Server[] = []
  try {
    while (servers.length < count) servers.push(await startOne())
    await acquaint(servers)
    return servers
  } catch (error) {
    const outputs = servers.map((server) => server.output())
    await stopAll(servers)
    throw new Error(`They did not come together:\n${outputs.join('\n')}`, { cause: error })
  }
}

export async function stopAll(servers: readonly RedisProcess[]): Promise<void> {
  await Promise.all(servers.map((server) => server.stop()))
}

let isWatchingOurEnd = false

/** A test that fails to stop its servers leaves none behind. */
function endWithUs(server: RedisProcess, folder: string): void {
  startedHere.set(server, folder)
  if (isWatchingOurEnd) return
  isWatchingOurEnd = true
  process.once('exit', () => {
    for (const [{ child }, place] of startedHere) {
      child.kill('SIGKILL')
      rmSync(place, { recursive: true, force: true })
    }
  })
  // By this signal the runner ends its workers, and it alone is no `exit`.
  process.once('SIGTERM', () => process.exit(128 + constants.signals.SIGTERM))
}
