/** The servers that a herd comes to, each a process with a crowd online in it. */
import { once } from 'node:events'
import { Agent } from 'node:http'
import { fileURLToPath } from 'node:url'
import { io } from 'socket.io-client'
import { WebSocket } from 'ws'
import { startPostgres } from '../../tests/support/postgres.ts'
import { signToken } from '../peers/tokens.ts'
import { startNode, toBeUndone } from '../processes.ts'
import { ask } from './http.ts'

const SECRET = 'a-secret-of-the-benchmark-and-nobody-else'
const AT_ONCE = 50

export interface Client {
  /** Reads users from a place in the list on, and checks how many came. */
  page(from: number, count: number, fields: string): Promise<void>
  close(): void
}

export interface Herd {
  readonly name: string
  readonly isPeer: boolean
  readonly url: string
  readonly pid: number
  token(index: number): Promise<string>
  connect(index: number): Promise<Client>
  connectAll(count: number): Promise<readonly Client[]>
  /** Says what a measure counted itself. */
  counted(cpuMs: number): void
  takeCounted(): number | null
}

/** Everything is counted, and nothing is refused. */
const FAR_LIMITS = {
  USER_WORK_RATE: '1000000000',
  USER_WORK_BURST: '1000000000',
  ADDRESS_WORK_RATE: '1000000000',
  ADDRESS_WORK_BURST: '1000000000',
  SOCKET_FRAME_RATE: '1000000',
  SOCKETS_PER_ADDRESS: '1000000',
  HANDSHAKES_PER_ADDRESS: '100000',
  SOCKETS_PER_USER: '10000',
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
  #counted: number | null = null

  constructor(name: string, url: string, pid: number) {
    this.name = name
    this.url = url
    this.pid = pid
  }

  token = tokenOf

  abstract connect(index: number): Promise<Client>

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
      AWAY_AFTER: '5h',
      IDLE_TIMEOUT: '6h',
      ...FAR_LIMITS,
    },
  })
  const { port } = new URL(await server.said('url'))
  const herd = new Rollcall(name, `http://127.0.0.1:${port}`, server.pid)
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

  async connect(index: number): Promise<Client> {
    const wire = new WebSocket(`${this.url.replace('http', 'ws')}/graphql`, 'graphql-transport-ws', {
      perMessageDeflate: false,
    })
    wire.setMaxListeners(0)
    await once(wire, 'open')
    // An observer: the crowd stays as it is.
    const payload = { authorization: `Bearer ${await tokenOf(index)}`, observer: true }
    wire.send(JSON.stringify({ type: 'connection_init', payload }))
    await once(wire, 'message')
    return {
      page(from, count, fields) {
        const after = from === 0 ? null : Buffer.from(`u:${idOf(from - 1)}`).toString('base64url')
        const query = `query ($first: Int!, $after: String) { onlineUsers(first: $first, after: $after) { nodes { ${fields} } totalCount position } }`
        wire.send(
          JSON.stringify({ id: '1', type: 'subscribe', payload: { query, variables: { first: count, after } } }),
        )
        return new Promise((resolve, reject) => {
          wire.on('message', function heard(data) {
            const bytes = (data as Buffer).length
            // The answer, and the message that completes it.
            if (bytes < 100) {
              wire.off('message', heard)
              resolve()
            } else if (bytes < 100 * count) reject(new Error(String(data)))
          })
          wire.once('close', (code) => reject(new Error(`Closed with ${code}.`)))
        })
      },
      close: () => wire.terminate(),
    }
  }
}

export async function startSocketIo(name: string, crowd: number): Promise<Herd> {
  const script = fileURLToPath(new URL('../peers/socket-io.ts', import.meta.url))
  const server = startNode(script, {
    environment: { NODE_ENV: 'production', JWT_SECRET: SECRET, CROWD: String(crowd) },
    flags: ['--import', 'tsx'],
  })
  return new SocketIo(name, await server.said('url'), server.pid)
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
      close: () => socket.disconnect(),
    }
  }
}
