/**
 * The driver of Rollcall: users as its README asks for them, each a socket with a session that beats as often as it is
 * told to. The protocol is spoken by hand, for a thousand subscribers share the machine with what they measure.
 */
import { createHmac, randomUUID } from 'node:crypto'
import { WebSocket } from 'ws'
import type { RollcallAddress } from './rollcall-cluster.ts'
import type { Client, Connection, Driver, News, Person } from './system.ts'

const SUBPROTOCOL = 'graphql-transport-ws'
/** Longer than a run. */
const TOKEN_LIFETIME_SECONDS = 24 * 3600

const CHANGE = '{ kind position user { id name status } }'
const FOLLOW_EVERYONE = `subscription { presenceChanged ${CHANGE} }`
const FOLLOW_LIST = `subscription ($userIds: [ID!]!) { presenceChanged(userIds: $userIds) ${CHANGE} }`
const GO_OFFLINE = 'mutation { goOffline { viewer { isOnline } } }'
const HEARTBEAT = 'mutation { heartbeat { nextHeartbeatInMs } }'
/** Answered after what the socket was asked before has been taken up: a subscription has no acknowledgement. */
const SETTLED = '{ position }'

export const driver: Driver = {
  async start(nodeCount) {
    // The processes that make the load need none of what it takes to start servers.
    const { startCluster } = await import('./rollcall-cluster.ts')
    return startCluster(nodeCount)
  },

  createClient(address): Client {
    const system = JSON.parse(address) as RollcallAddress
    return { connect: (person) => connect(system, person) }
  },
}

interface Operation {
  next(data: Record<string, unknown>): void
  /** @param reason - null where it came to its end */
  end(reason: string | null): void
}

type Message =
  | { readonly type: 'connection_ack'; readonly payload: { readonly heartbeatIntervalMs: number } }
  | { readonly type: 'ping' | 'pong' }
  | {
      readonly type: 'next'
      readonly id: string
      readonly payload: { readonly data?: Record<string, unknown> | null; readonly errors?: unknown }
    }
  | { readonly type: 'error'; readonly id: string; readonly payload: unknown }
  | { readonly type: 'complete'; readonly id: string }

interface PresenceChange {
  readonly kind: 'JOIN' | 'UPDATE' | 'LEAVE'
  readonly position: string
  readonly user: { readonly id: string }
}

function connect(system: RollcallAddress, { userId, node, localAddress, onLost }: Person): Connection {
  const operations = new Map<string, Operation>()
  const acknowledged = deferred()
  const opened = deferred()
  let lastId = 0
  let heartbeats: NodeJS.Timeout | undefined
  /** Why there is no connection any more. */
  let over: string | null = null

  const socket = new WebSocket(String(system.wsUrls[node]), SUBPROTOCOL, { perMessageDeflate: false, localAddress })
  socket.on('open', opened.resolve)
  socket.on('message', (data) => take(JSON.parse(String(data)) as Message))
  socket.on('error', (error) => lose(error.message))
  socket.on('close', (code, reason) => lose(`closed with ${code} ${reason}`))

  function lose(reason: string): void {
    if (over !== null) return
    leaveOff(reason)
    onLost(reason)
    socket.terminate()
  }

  function leaveOff(reason: string): void {
    over = reason
    clearInterval(heartbeats)
    for (const { end } of operations.values()) end(reason)
    operations.clear()
    for (const waiting of [opened, acknowledged]) waiting.reject(new Error(reason))
  }

  function take(message: Message): void {
    switch (message.type) {
      case 'next': {
        const { data, errors } = message.payload
        if (errors !== undefined || !data) end(message.id, JSON.stringify(errors))
        else operations.get(message.id)?.next(data)
        break
      }
      case 'complete':
        end(message.id, null)
        break
      case 'error':
        end(message.id, JSON.stringify(message.payload))
        break
      case 'ping':
        send({ type: 'pong' })
        break
      case 'connection_ack':
        heartbeats = setInterval(beat, message.payload.heartbeatIntervalMs)
        acknowledged.resolve()
    }
  }

  function end(id: string, reason: string | null): void {
    const operation = operations.get(id)
    operations.delete(id)
    operation?.end(reason)
  }

  function send(message: Record<string, unknown>): void {
    if (socket.readyState === socket.OPEN) socket.send(JSON.stringify(message))
  }

  function operate(operation: Operation, query: string, variables?: Record<string, unknown>): void {
    if (over !== null) {
      operation.end(over)
      return
    }
    lastId += 1
    const id = String(lastId)
    operations.set(id, operation)
    send({ id, type: 'subscribe', payload: { query, variables } })
  }

  function ask(query: string): Promise<void> {
    return new Promise((resolve, reject) => {
      operate(
        { next() {}, end: (reason) => (reason === null ? resolve() : reject(new Error(`${query}: ${reason}`))) },
        query,
      )
    })
  }

  function beat(): void {
    ask(HEARTBEAT).catch((error: Error) => lose(error.message))
  }

  return {
    opened: opened.promise,

    comeOnline() {
      const payload = { authorization: `Bearer ${tokenOf(system, userId)}`, sessionId: randomUUID(), device: 'bench' }
      send({ type: 'connection_init', payload })
      return acknowledged.promise
    },

    goOffline() {
      clearInterval(heartbeats)
      return ask(GO_OFFLINE)
    },

    async follow(audience, onNews) {
      const operation: Operation = {
        next: ({ presenceChanged }) => onNews(newsOf(presenceChanged as PresenceChange)),
        end: (reason) => lose(`the subscription ended: ${reason}`),
      }
      if (audience === 'everyone') operate(operation, FOLLOW_EVERYONE)
      else operate(operation, FOLLOW_LIST, { userIds: audience })
      await ask(SETTLED)
    },

    close() {
      leaveOff('closed by its user')
      socket.close(1000)
    },
  }
}

/** Within one epoch positions grow by their number. Where a new one begins, every subscription ends. */
function newsOf({ kind, position, user }: PresenceChange): News {
  return {
    userId: user.id,
    kind: kind === 'UPDATE' ? 'OTHER' : kind,
    order: Number(position.slice(position.indexOf(':') + 1)),
  }
}

/** One for each user and run, as an app's stays the same for many connections. */
function tokenOf({ jwtSecret, issuedAtSeconds }: RollcallAddress, userId: string): string {
  const claims = {
    sub: userId,
    name: `Name of ${userId.slice(0, 8)}`,
    iat: issuedAtSeconds,
    exp: issuedAtSeconds + TOKEN_LIFETIME_SECONDS,
  }
  const signed = `${base64Url({ alg: 'HS256', typ: 'JWT' })}.${base64Url(claims)}`
  return `${signed}.${createHmac('sha256', jwtSecret).update(signed).digest('base64url')}`
}

function base64Url(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url')
}

function deferred() {
  let resolve = (): void => {}
  let reject = (_error: Error): void => {}
  const promise = new Promise<void>((onDone, onFailed) => {
    resolve = onDone
    reject = onFailed
  })
  // Whoever waits is told as well; nobody may be waiting.
  promise.catch(() => {})
  return { promise, resolve, reject }
}
