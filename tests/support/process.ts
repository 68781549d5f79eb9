/** The server as a process of its own, to be stopped, killed and started again. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { SettingTexts } from '../../src/config.ts'
import { QUICK, type TestServer } from './server.ts'

export interface ServerProcess extends Omit<TestServer, 'stop'> {
  readonly child: ChildProcess
  /** What it logged, a line an object. */
  readonly lines: readonly Record<string, unknown>[]
  /** Sends the signal and resolves with the exit code, null where the signal ended it. */
  end(signal: 'SIGTERM' | 'SIGKILL'): Promise<number | null>
}

/** As it is built, by the set-up of the run: that starts in half the time of the sources. */
const MAIN = fileURLToPath(new URL('../../dist/main.js', import.meta.url))

/** A process that may not be ready yet, on a port that its starter chose. */
export interface StartingProcess extends ServerProcess {
  /** Resolves when the process says that it is ready. */
  readonly ready: Promise<void>
}

/**
 * Resolves when the process says that it is ready.
 *
 * @param lines - filled with what it logs, also before that
 */
export async function startProcess(
  settings: SettingTexts,
  lines: Record<string, unknown>[] = [],
  environment: NodeJS.ProcessEnv = {},
): Promise<ServerProcess> {
  const { child, url, end } = spawnServer(settings, lines, environment)
  const { port } = new URL(await url)
  return { ...addressesOf(port), child, lines, end }
}

/** @param port - a free one: its url is known before the process says that it is ready */
export function launchProcess(
  settings: SettingTexts,
  port: number,
  lines: Record<string, unknown>[] = [],
): StartingProcess {
  const { child, url, end } = spawnServer({ ...settings, PORT: String(port) }, lines)
  const ready = url.then(() => {})
  // Nobody need wait for it.
  ready.catch(() => {})
  return { ...addressesOf(String(port)), child, lines, end, ready }
}

function spawnServer(settings: SettingTexts, lines: Record<string, unknown>[], environment: NodeJS.ProcessEnv = {}) {
  const child = spawn(process.execPath, [MAIN], {
    env: { PATH: process.env.PATH, ...QUICK, HOST: '127.0.0.1', PORT: '0', ...settings, ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let errorText = ''
  child.stderr?.on('data', (chunk) => {
    errorText += String(chunk)
  })
  const url = new Promise<string>((resolve, reject) => {
    child.once('exit', (code) =>
      reject(new Error(`The server ended with ${code}: ${errorText}${JSON.stringify(lines)}`)),
    )
    createInterface({ input: child.stdout as NodeJS.ReadableStream }).on('line', (line) => {
      const parsed = JSON.parse(line) as Record<string, unknown>
      lines.push(parsed)
      if (parsed.msg === 'Rollcall is ready.') resolve(String(parsed.url))
    })
  })
  return {
    child,
    url,
    async end(signal: 'SIGTERM' | 'SIGKILL') {
      if (child.exitCode !== null || child.signalCode !== null) return child.exitCode
      const exited = once(child, 'exit')
      child.kill(signal)
      const [code] = await exited
      return code as number | null
    },
  }
}

function addressesOf(port: string): Pick<ServerProcess, 'url' | 'wsUrl'> {
  return { url: `http://127.0.0.1:${port}`, wsUrl: `ws://127.0.0.1:${port}/graphql` }
}
