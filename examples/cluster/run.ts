/**
 * The cluster without containers: three nodes and HAProxy on this machine, on your Postgres and your Redis.
 *
 * SIGHUP restarts the nodes one after the other, as a deploy does. SIGINT and SIGTERM stop everything, and a second
 * one does so at once.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { createServer } from 'node:net'
import { delimiter, join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

const MAIN = fileURLToPath(new URL('../../dist/main.js', import.meta.url))
const HAPROXY_CONFIG = fileURLToPath(new URL('haproxy.cfg', import.meta.url))
const HOST = '127.0.0.1'
const START_TIME_LIMIT_MS = 30_000
const LOOK_EVERY_MS = 100

interface Node {
  readonly name: string
  readonly port: number
  child: ChildProcess | null
  /** False while it stops because we say so. */
  isWanted: boolean
}

const { DATABASE_URL, REDIS_URL, PORT = '4000' } = process.env
const haproxy = findHaproxy()
const children = new Set<ChildProcess>()
const nodes: Node[] = []
let isStopping = false
let isRolling = false

const missing = [
  ...(DATABASE_URL === undefined ? ['DATABASE_URL is not set: the nodes share a Postgres, postgres://…'] : []),
  ...(REDIS_URL === undefined ? ['REDIS_URL is not set: the nodes share a Redis, redis://…'] : []),
  ...(existsSync(MAIN) ? [] : ['dist/main.js is not there: npm ci builds it, and npm run build does so again.']),
  ...(haproxy === null ? ['haproxy is not on the PATH: install HAProxy 2.6 or later.'] : []),
]

if (missing.length > 0 || haproxy === null) {
  process.stderr.write(`${missing.join('\n')}\n`)
  process.exitCode = 1
} else {
  // They are in process groups of their own, so that Ctrl-C reaches us alone, and we stop them in order.
  process.on('exit', () => {
    for (const child of children) child.kill('SIGKILL')
  })
  process.on('SIGHUP', () => void restartAll())
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => void stop(0))
  start(haproxy).catch(fail)
}

async function start(program: string): Promise<void> {
  for (const name of ['node-1', 'node-2', 'node-3']) {
    nodes.push({ name, port: await freePort((nodes.at(-1)?.port ?? Number(PORT)) + 1), child: null, isWanted: true })
  }
  await Promise.all(nodes.map(startNode))
  if (isStopping) return
  const [NODE_1, NODE_2, NODE_3] = nodes.map(({ port }) => `${HOST}:${port}`)
  const balancer = launch(program, ['-db', '-f', HAPROXY_CONFIG], { LISTEN: `${HOST}:${PORT}`, NODE_1, NODE_2, NODE_3 })
  balancer.once('exit', () => fail('HAProxy has ended.'))
  await untilReady(Number(PORT), balancer, 'HAProxy')
  say(`http://localhost:${PORT} is the cluster. Restart its nodes one after the other: kill -HUP ${process.pid}`)
}

async function startNode(node: Node): Promise<void> {
  const child = launch(process.execPath, [MAIN], { HOST, PORT: String(node.port) }, node.name)
  node.child = child
  node.isWanted = true
  let isStarted = false
  child.once('exit', (code, signal) => {
    say(`${node.name} has ended with ${code ?? signal}.`)
    // One that was killed comes back, as it would under whatever runs it in production.
    if (isStarted && node.isWanted && !isStopping) startNode(node).catch(fail)
  })
  await untilReady(node.port, child, node.name)
  isStarted = true
  say(`${node.name} is ready on port ${node.port}.`)
}

async function restartAll(): Promise<void> {
  if (isRolling || isStopping) return
  isRolling = true
  try {
    for (const node of nodes) {
      say(`${node.name} is told to stop.`)
      await end(node)
      if (isStopping) return
      await startNode(node)
    }
    say('All nodes were restarted.')
  } catch (error) {
    fail(error)
  } finally {
    isRolling = false
  }
}

async function end(node: Node): Promise<void> {
  node.isWanted = false
  const { child } = node
  if (child === null || !children.has(child)) return
  const exited = once(child, 'exit')
  child.kill('SIGTERM')
  await exited
}

/** The nodes first: until the last socket is closed, its client speaks through HAProxy. */
async function stop(exitCode: number): Promise<void> {
  if (isStopping) process.exit(exitCode || 1)
  isStopping = true
  say('The cluster stops.')
  await Promise.all(nodes.map(end))
  process.exit(exitCode)
}

function fail(error: unknown): void {
  if (isStopping) return
  say(error instanceof Error ? error.message : String(error))
  void stop(1)
}

/** @param name - goes before each line that it writes to its standard output */
function launch(program: string, args: readonly string[], settings: NodeJS.ProcessEnv, name?: string): ChildProcess {
  const child = spawn(program, args, {
    env: { ...process.env, ...settings },
    stdio: ['ignore', 'pipe', 'inherit'],
    detached: true,
  })
  children.add(child)
  child.once('exit', () => children.delete(child))
  child.once('error', fail)
  createInterface({ input: child.stdout }).on('line', (line) => say(name === undefined ? line : `${name} ${line}`))
  return child
}

/** @throws Error with what it says itself about why it is not ready, where that takes too long */
async function untilReady(port: number, child: ChildProcess, name: string): Promise<void> {
  let reason = 'It does not listen.'
  for (const deadlineMs = performance.now() + START_TIME_LIMIT_MS; performance.now() < deadlineMs; ) {
    if (!children.has(child)) throw new Error(`${name} could not be started.`)
    try {
      const response = await fetch(`http://${HOST}:${port}/readyz`)
      if (response.ok) return
      reason = await response.text()
    } catch {
      // Not yet.
    }
    await sleep(LOOK_EVERY_MS)
  }
  throw new Error(`${name} is not ready: ${reason.trim()}`)
}

/** From the bottom: a port that the system may give to a connection can be taken while its node restarts. */
async function freePort(from: number): Promise<number> {
  for (let port = from; ; port += 1) {
    const probe = createServer()
    try {
      probe.listen(port, HOST)
      await once(probe, 'listening')
      return port
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error
    } finally {
      probe.close()
    }
  }
}

/** Debian puts it where a user's PATH may not lead. */
function findHaproxy(): string | null {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin']
  return folders.map((folder) => join(folder, 'haproxy')).find((path) => existsSync(path)) ?? null
}

function say(line: string): void {
  process.stdout.write(`${line}\n`)
}
