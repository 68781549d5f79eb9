/**
 * A process full of sockets, for storm.test.ts and mass-return.test.ts: no client library, only what a server asks of one. It opens all of them
 * at once when it is told to, comes back where it is refused, and says how it stands.
 */
import { WebSocket } from 'ws'

export interface StormOrder {
  readonly wsUrls: readonly string[]
  /** Users `storm-<from>` and on. */
  readonly from: number
  readonly count: number
  /** Documents that each asks once it is acknowledged. */
  readonly asked?: readonly string[]
}

export interface StormState {
  readonly acknowledgedCount: number
  /** First answers to `asked`, of all connections. */
  readonly answeredCount: number
  readonly failures: Readonly<Record<string, number>>
}

const REPORT_MS = 100

const failures: Record<string, number> = {}
let acknowledgedCount = 0
let answeredCount = 0

function open(wsUrl: string, number: number, asked: readonly string[]): void {
  const socket = new WebSocket(wsUrl, 'graphql-transport-ws', { perMessageDeflate: false })
  const payload = { authorization: `Bearer dev:storm-${number}`, sessionId: sessionIdOf(number) }
  let isAcknowledged = false
  const unanswered = new Set<string>()
  socket.on('open', () => socket.send(JSON.stringify({ type: 'connection_init', payload })))
  socket.on('message', (data) => {
    const { id, type, payload: said } = JSON.parse(String(data)) as { id?: string; type: string; payload?: any }
    if (type === 'ping') socket.send('{"type":"pong"}')
    const errors = type === 'error' ? said : type === 'next' ? said.errors : undefined
    if (errors !== undefined) count(`error ${errors[0]?.extensions?.code}`)
    if (id !== undefined && unanswered.delete(id)) answeredCount += 1
    if (type !== 'connection_ack') return
    isAcknowledged = true
    acknowledgedCount += 1
    for (const [index, query] of asked.entries()) {
      unanswered.add(String(index))
      socket.send(JSON.stringify({ id: String(index), type: 'subscribe', payload: { query } }))
    }
  })
  socket.on('error', (error) => count((error as NodeJS.ErrnoException).code ?? error.message))
  socket.on('close', (code, reason) => {
    count(`${isAcknowledged ? 'lost' : 'refused'} ${code} ${reason}`)
    if (isAcknowledged) acknowledgedCount -= 1
    setTimeout(() => open(wsUrl, number, asked), 1000 + Math.random() * 1000)
  })
}

function count(failure: string): void {
  failures[failure] = (failures[failure] ?? 0) + 1
}

function sessionIdOf(number: number): string {
  return `00000000-0000-4000-8000-${String(number).padStart(12, '0')}`
}

process.once('message', (order: StormOrder) => {
  const { wsUrls, from, count, asked = [] } = order
  for (let number = from; number < from + count; number += 1)
    open(String(wsUrls[number % wsUrls.length]), number, asked)
  setInterval(() => process.send?.({ acknowledgedCount, answeredCount, failures } satisfies StormState), REPORT_MS)
})
process.once('disconnect', () => process.exit())
process.send?.('ready')
