/** The servers that a herd comes to, each a process with a crowd online in it. */
import { once } from 'node:events'
import { Agent } from 'node:http'
import { fileURLToPath } from 'node:url'
import { io } from 'socket.io-client'
import { WebSocket } from 'ws'
import { startPostgres } from '../../tests/support/postgres.ts'
import { signToken } from '../peers/tokens.ts'
import { type Child, startNode, toBeUndone } from '../processes.ts'
import { FAR_LIMITS, SECRET } from '../servers.ts'
import { ask } from './http.ts'

const AT_ONCE = 50
const DOOR = ['--import', fileURLToPath(new URL('../measure/door.mjs', import.meta.url))]

export interface Client {
  /** Reads users from a place in the list on, and checks how many came. */
  page(from: number, count: number, fields: string): Promise<void>
  /** Reads the first page, and follows from there on. */
  follow(count: number): Promise<void>
  close(): void
}

export interface Herd {
  readonly name: string
  readonly isPeer: boolean
  readonly url: string
  readonly pid: number
  token(index: number): Promise<string>
  /** @param isSession - whether it makes its user online, where the server tells the two apart */
  connect(index: number, isSession?: boolean): Promise<Client>
  /** So many of them one after the other. */
  connectAll(count: number): Promise<readonly Client[]>
  /** The longest time since the last question in which its event loop stood. */
  stallMs(): Promise<number>
  /** Says what a measure counted itself. */
  counted(cpuMs: number): void
  takeCounted(): number | null
  /** Something to tell beside the price, in ms. */
  note(name: string, ms: number): void
  takeNotes(): ReadonlyMap<string, readonly number[]>
}

export function idOf(index: number): string {
  return `user-${String(index).padStart(6, '0')}`
}

const tokens = new Map<number, Promise<string>>()

function tokenOf(index: number): Promise<string> {
  const known = tokens.get(index) ?? signToken({ id: idOf(index), name: `User ${index}` }, SECRET)
  tokens.set(index, known)
  return known
}

abstract class Server implements Herd {
  readonly name: string
  readonly url: string
  readonly pid: number
  abstract readonly isPeer: boolean
  readonly #child: Child
  #counted: number | null = null
  #notes = new Map<string, readonly number[]>()

  constructor(name: string, url: string, child: Child) {
    this.name = name
    this.url = url
    this.pid = child.pid
    this.#child = child
  }

  async stallMs(): Promise<number> {
    const { stallMs } = (await this.#child.ask('stall')) as { readonly stallMs: number }
    return stallMs
  }

  token = tokenOf

  abstract connect(index: number, isSession?: boolean): Promise<Client>

  async connectAll(count: number): Promise<readonly Client[]> {
    const clients: Client[] = []
    const indexes = Array.from({ length: count }, (_, index) => index).values()
    await Promise.all(
      Array.from({ length: AT_ONCE }, async () => {
        for (const index of indexes) clients.push(await this.connect(index))
      }),
    )
    return clients
  }

  counted(cpuMs: number): void {
    this.#counted = cpuMs
  }

  note(name: string, ms: number): void {
    this.#notes.set(name, [...(this.#notes.get(name) ?? []), ms])
  }

  takeNotes(): ReadonlyMap<string, readonly number[]> {
    const notes = this.#notes
    this.#notes = new Map()
    return notes
  }

  takeCounted(): number | null {
    const counted = this.#counted
    this.#counted = null
    return counted
  }
}

/** @param crowd - how many are online, by sessions without a socket */
export async function startRollcall(name: string, main: string, crowd: number): Promise<Herd> {
  const { url: database, stop } = await startPostgres()
  toBeUndone(stop)
  const server = startNode(main, {
    environment: {
      NODE_ENV: 'production',
      JWT_SECRET: SECRET,
      HOST: '127.0.0.1',
      PORT: '0',
      DATABASE_URL: database,
      SESSION_TTL: '6h',
      // Nobody leaves between two turns.
      RECONNECT_GRACE: '1h',
      AWAY_AFTER: '5h',
      IDLE_TIMEOUT: '6h',
      ...FAR_LIMITS,
      SOCKETS_PER_USER: '10000',
    },
    flags: DOOR,
  })
  const { port } = new URL(await server.said('url'))
  const herd = new Rollcall(name, `http://127.0.0.1:${port}`, server)
  await herd.fill(crowd)
  return herd
}

class Rollcall extends Server {
  readonly isPeer = false

  async fill(crowd: number): Promise<void> {
    const agent = new Agent({ keepAlive: true, maxSockets: AT_ONCE })
    const indexes = Array.from({ length: crowd }, (_, index) => index).values()
    const body = '{"query":"mutation { heartbeat { nextHeartbeatInMs } }"}'
    await Promise.all(
      Array.from({ length: AT_ONCE }, async () => {
        for (const index of indexes) await ask(agent, `${this.url}/graphql`, `Bearer ${await tokenOf(index)}`, body)
      }),
    )
    agent.destroy()
  }

  async connect(index: number, isSession = false): Promise<Client> {
    const wire = new WebSocket(`${this.url.replace('http', 'ws')}/graphql`, 'graphql-transport-ws', {
      perMessageDeflate: false,
    })
    await once(wire, 'open')
    const payload = { authorization: `Bearer ${await tokenOf(index)}`, observer: !isSession }
    wire.send(JSON.stringify({ type: 'connection_init', payload }))
    await once(wire, 'message')
    return new GraphQLClient(wire)
  }
}

class GraphQLClient implements Client {
  readonly #wire: WebSocket
  #heard: (data: Buffer) => void = () => {}
  #failed: (error: Error) => void = () => {}

  constructor(wire: WebSocket) {
    this.#wire = wire
    wire.on('message', (data) => this.#heard(data as Buffer))
    wire.on('close', (code) => this.#failed(new Error(`Closed with ${code}.`)))
  }

  page(from: number, count: number, fields: string): Promise<void> {
    const after = from === 0 ? null : Buffer.from(`u:${idOf(from - 1)}`).toString('base64url')
    const query = `query ($first: Int!, $after: String) { onlineUsers(first: $first, after: $after) { nodes { ${fields} } totalCount position } }`
    return this.#ask(query, { first: count, after }, count)
  }

  async follow(count: number): Promise<void> {
    await this.page(0, count, 'id name status')
    const payload = { query: 'subscription { presenceChanged { kind position user { id name status } } }' }
    this.#wire.send(JSON.stringify({ id: '2', type: 'subscribe', payload }))
    // What is asked after it is answered after it has begun.
    await this.#ask('{ onlineCount }', {}, 0)
  }

  close(): void {
    this.#failed = () => {}
    this.#wire.terminate()
  }

  /** Resolves with the end of an operation, whose result has at least some bytes for each user. */
  #ask(query: string, variables: object, userCount: number): Promise<void> {
    this.#wire.send(JSON.stringify({ id: '1', type: 'subscribe', payload: { query, variables } }))
    return new Promise((resolve, reject) => {
      this.#failed = reject
      this.#heard = (data) => {
        if (data.includes('"type":"complete"')) resolve()
        else if (data.length < 30 * userCount || data.includes('"errors"')) reject(new Error(String(data)))
      }
    })
  }
}

export async function startSocketIo(name: string, crowd: number): Promise<Herd> {
  const script = fileURLToPath(new URL('../peers/socket-io.ts', import.meta.url))
  const server = startNode(script, {
    environment: { NODE_ENV: 'production', JWT_SECRET: SECRET, CROWD: String(crowd) },
    flags: [...DOOR, '--import', 'tsx'],
  })
  return new SocketIo(name, await server.said('url'), server)
}

class SocketIo extends Server {
  readonly isPeer = true

  async connect(index: number): Promise<Client> {
    const socket = io(this.url, {
      transports: ['websocket'],
      forceNew: true,
      auth: { token: await tokenOf(index) },
      perMessageDeflate: { threshold: 1_000_000_000 },
    })
    await new Promise((resolve, reject) => socket.once('connect', () => resolve(null)).once('connect_error', reject))
    return {
      async page(from, count) {
        const page = await socket.emitWithAck('list', from, count)
        if (page.users.length !== count) throw new Error(`${page.users.length} users came.`)
      },
      async follow(count) {
        const page = await socket.emitWithAck('list', 0, count)
        if (page.users.length !== count) throw new Error(`${page.users.length} users came.`)
        await socket.emitWithAck('follow', 'everyone')
      },
      close: () => socket.disconnect(),
    }
  }
}
