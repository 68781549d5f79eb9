/**
 * Ports that stay their server's while it is dead, so that it can be started again where its clients look for it.
 */
import { once } from 'node:events'
import { createServer } from 'node:net'
import { until } from './wait.ts'

/**
 * Below the ports that the system gives to connections (from 32768 on Linux, 49152 on macOS): a client that calls a
 * dead server again and again may be given the server's port for its own end, is then connected with itself, and the
 * server cannot come back. The ten thousand after these are the cluster's: a node takes its port plus 10,000 too.
 */
const FIRST_PORT = 10_000
/** Each worker has its own, so that none takes the port of another's dead server. */
const PORTS_PER_WORKER = 1_000
const WORKER_COUNT = 10

const givenPorts = new Set<number>()

export async function freePort(host: string): Promise<number> {
  const worker = Number(process.env.VITEST_POOL_ID ?? 0) % WORKER_COUNT
  return until(
    async () => {
      const port = FIRST_PORT + worker * PORTS_PER_WORKER + Math.floor(Math.random() * PORTS_PER_WORKER)
      if (givenPorts.has(port) || !(await isFree(host, port))) return null
      givenPorts.add(port)
      return port
    },
    { everyMs: 0, what: 'A free port' },
  )
}

async function isFree(host: string, port: number): Promise<boolean> {
  const probe = createServer()
  try {
    probe.listen(port, host)
    await once(probe, 'listening')
    return true
  } catch {
    return false
  } finally {
    probe.close()
  }
}
