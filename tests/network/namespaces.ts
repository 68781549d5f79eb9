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

/** What the server's kernel says of its connections from this address, by their ports. */
interface Connections {
  /** How long ago the last bytes came, in ms. */
  readonly silentForMs: ReadonlyMap<number, number>
  /** How often what was sent and not confirmed has been sent again. */
  readonly resentCounts: ReadonlyMap<number, number>
}

export function connectionsFrom(address: string): Connections {
  const lines = execFileSync('ss', ['-tinOH', 'state', 'established', 'dst', address], { encoding: 'utf8' })
  const silentForMs = new Map<number, number>()
  const resentCounts = new Map<number, number>()
  const end = new RegExp(`${address.replaceAll('.', '\\.')}\\]?:(\\d+)`)
  for (const line of lines.split('\n').filter((text) => text !== '')) {
    const port = Number(end.exec(line)?.[1])
    silentForMs.set(port, Number(/\blastrcv:(\d+)/.exec(line)?.[1]))
    resentCounts.set(port, Number(/\bretrans:\d+\/(\d+)/.exec(line)?.[1] ?? 0))
  }
  return { silentForMs, resentCounts }
}

/** When the last bytes came, of connections whose packets are dropped. */
export interface LastBytes {
  /** By the monotonic clock, by ports. */
  readonly atMs: ReadonlyMap<number, number>
  /** How far off all of them may be. */
  readonly withinMs: number
}

/** An answer of `ss` is of some moment while it ran, so the quickest of several is taken. */
export function lastBytesFrom(address: string): LastBytes {
  const looks = Array.from({ length: 10 }, () => {
    const askedAtMs = performance.now()
    const { silentForMs } = connectionsFrom(address)
    return { silentForMs, askedAtMs, tookMs: performance.now() - askedAtMs }
  })
  const [quickest] = looks.sort((one, other) => one.tookMs - other.tookMs)
  if (quickest === undefined) throw new Error('There was no look.')
  const { silentForMs, askedAtMs, tookMs } = quickest
  return {
    atMs: new Map([...silentForMs].map(([port, ms]) => [port, askedAtMs + tookMs / 2 - ms])),
    withinMs: Math.ceil(tookMs / 2),
  }
}

export interface VisitorsProcess {
  ask(command: Extract<Command, { name: 'state' }>): Promise<State>
  ask(command: Extract<Command, { name: 'enter' }>): Promise<Entered>
  ask(command: Extract<Command, { name: 'connect' }>): Promise<null>
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
