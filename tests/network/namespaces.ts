/** What `run.sh` made: two namespaces, the server's with this process in it, and a rule that drops packets by address. */
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Answered, Command, Entered, State } from './visitors-process.ts'

const VISITORS_PROCESS = fileURLToPath(new URL('./visitors-process.ts', import.meta.url))

export const SERVER_ADDRESS = made('SERVER_ADDRESS')
export const VISITOR_ADDRESSES = made('VISITOR_ADDRESSES').split(' ')
const NAMESPACES = [made('SERVER_NAMESPACE'), made('VISITORS_NAMESPACE')]

function made(name: string): string {
  const value = process.env[name]
  if (value === undefined) throw new Error(`${name} is not set: start these tests with tests/network/run.sh.`)
  return value
}

/** Every packet from and to this address of a visitor is lost from now on, where it arrives. */
export function dropPackets(address: string): void {
  changeDrops('add', 'element', `{ ${address} }`)
}

export function passPackets(address: string): void {
  changeDrops('delete', 'element', `{ ${address} }`)
}

export function passAllPackets(): void {
  changeDrops('flush', 'set')
}

function changeDrops(change: string, what: 'element' | 'set', ...elements: readonly string[]): void {
  for (const namespace of NAMESPACES) {
    execFileSync('ip', ['netns', 'exec', namespace, 'nft', change, what, 'inet', 'drops', 'addresses', ...elements])
  }
}

/** What the server's kernel says of its connections from this address. */
export interface Connection {
  readonly port: number
  /** When the last bytes came, by the monotonic clock. */
  readonly lastByteAtMs: number
  /** How often what was sent and not confirmed has been sent again. */
  readonly resentCount: number
}

export function connectionsFrom(address: string): readonly Connection[] {
  const askedAtMs = performance.now()
  const lines = execFileSync('ss', ['-tinOH', 'state', 'established', 'dst', address], { encoding: 'utf8' })
  const lookedAtMs = (askedAtMs + performance.now()) / 2
  return lines
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => ({
      port: Number(new RegExp(`${address.replaceAll('.', '\\.')}\\]?:(\\d+)`).exec(line)?.[1]),
      lastByteAtMs: lookedAtMs - Number(/\blastrcv:(\d+)/.exec(line)?.[1] ?? Number.NaN),
      resentCount: Number(/\bretrans:\d+\/(\d+)/.exec(line)?.[1] ?? 0),
    }))
}

/**
 * When the last bytes came of each connection from an address whose packets are dropped, by its port.
 *
 * The answers of `ss` are as old as it took: of several, the quickest is the most exact.
 */
export function lastBytesFrom(address: string): ReadonlyMap<number, number> {
  const looks = Array.from({ length: 10 }, () => {
    const askedAtMs = performance.now()
    const connections = connectionsFrom(address)
    return { connections, tookMs: performance.now() - askedAtMs }
  })
  const [quickest] = looks.sort((one, other) => one.tookMs - other.tookMs)
  return new Map(quickest?.connections.map(({ port, lastByteAtMs }) => [port, lastByteAtMs]))
}

export interface VisitorsProcess {
  ask(command: Extract<Command, { name: 'state' }>): Promise<State>
  ask(command: Extract<Command, { name: 'enter' | 'connect' }>): Promise<Entered>
  end(): Promise<void>
}

export function startVisitors(): VisitorsProcess {
  const child = spawn(
    'ip',
    ['netns', 'exec', NAMESPACES[1] as string, process.execPath, '--import', 'tsx', VISITORS_PROCESS],
    { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] },
  )
  const waiting = new Map<number, (answer: never) => void>()
  let lastNumber = 0
  child.on('message', ({ number, answer }: Answered) => {
    waiting.get(number)?.(answer as never)
    waiting.delete(number)
  })
  return {
    ask: <Answer>(command: Command) =>
      new Promise<Answer>((resolve) => {
        lastNumber += 1
        waiting.set(lastNumber, resolve as (answer: never) => void)
        child.send({ number: lastNumber, command })
      }),
    async end() {
      const exited = once(child, 'exit')
      child.disconnect()
      await exited
    },
  }
}
