/**
 * Two processes on one Postgres and without Redis: one serves, the other waits. Each reaches Postgres by a proxy of its
 * own, so that it can be cut off alone, and each is asked all the time whether it is ready.
 */
import type { SettingTexts } from '../../src/config.ts'
import { freePort } from '../support/free-port.ts'
import { launchProcess, type StartingProcess } from '../support/process.ts'
import { postgresData } from '../support/server.ts'
import { openTcpProxy } from '../support/tcp-proxy.ts'
import { until } from '../support/wait.ts'
import { type Readiness, watchReadiness } from './readiness.ts'
import type { Node } from './world.ts'

export interface Peer extends Node {
  readonly name: string
  readonly readiness: Readiness
  process(): StartingProcess
  /** SIGSTOP: it stands still, and its connections stay. */
  stop(): void
  /** SIGCONT. */
  goOn(): void
  /** @returns its exit code, null where the signal ended it */
  end(signal: 'SIGTERM' | 'SIGKILL'): Promise<number | null>
}

export interface Pair {
  readonly peers: readonly [Peer, Peer]
  readonly databaseUrl: string
  close(): Promise<void>
}

const HOST = '127.0.0.1'

export async function openPair(settings: SettingTexts): Promise<Pair> {
  const data = await postgresData()
  const databaseUrl = String(data.settings.DATABASE_URL)

  async function startPeer(name: string): Promise<Peer> {
    const address = new URL(databaseUrl)
    const wire = await openTcpProxy({ host: address.hostname, port: Number(address.port) })
    address.port = String(wire.port)
    const port = await freePort(HOST)
    const lines: Record<string, unknown>[] = []
    const start = () =>
      launchProcess({ SOCKETS_PER_USER: '10000', ...settings, DATABASE_URL: address.href }, port, lines)
    let running = start()
    let isAlive = true
    const readiness = watchReadiness(() => running.url)

    async function end(signal: 'SIGTERM' | 'SIGKILL'): Promise<number | null> {
      isAlive = false
      return running.end(signal)
    }
    return {
      name,
      process: () => running,
      url: () => running.url,
      wsUrl: () => running.wsUrl,
      wire,
      readiness,
      lines,
      isAlive: () => isAlive,
      stop() {
        readiness.stops()
        running.child.kill('SIGSTOP')
      },
      goOn() {
        readiness.goesOn()
        running.child.kill('SIGCONT')
      },
      end,
      async kill() {
        await end('SIGKILL')
      },
      async restart() {
        const answerCount = readiness.answerCount()
        running = start()
        isAlive = true
        // It listens before it has the work. Where others work as well that takes its time, which is not the matter here.
        await until(() => readiness.answerCount() > answerCount, { withinMs: 120_000, what: 'a process that listens' })
      },
    }
  }

  // The second one finds the tables made.
  const first = await startPeer('a')
  await first.process().ready
  const peers = [first, await startPeer('b')] as const
  return {
    peers,
    databaseUrl,
    async close() {
      for (const { readiness } of peers) await readiness.close()
      for (const peer of peers) await peer.kill()
      for (const { wire } of peers) await wire.close()
      await data.drop()
    },
  }
}
