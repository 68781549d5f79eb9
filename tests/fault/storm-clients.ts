/**
 * A process full of sockets, for storm.test.ts: no client library, only what a server asks of one. It opens all of them
 * at once when it is told to, comes back where it is refused, and says how it stands.
 */
import { WebSocket } from 'ws'

export interface StormOrder {
  readonly wsUrls: readonly string[]
  /** Users `storm-<from>` and on. */
  readonly from: number
  readonly count: number
}

export interface StormState {
  readonly acknowledgedCount: number
  readonly failures: Readonly<Record<string, number>>
}

const REPORT_MS = 100

const failures: Record<string, number> = {}
let acknowledgedCount = 0

function open(wsUrl: string, number: number): void {
  const socket = new WebSocket(wsUrl, 'graphql-transport-ws', { perMessageDeflate: false })
  const payload = { authorization: `Bearer dev:storm-${number}`, sessionId: sessionIdOf(number) }
  let isAcknowledged = false
  socket.on('open', () => socket.send(JSON.stringify({ type: 'connection_init', payload })))
  socket.on('message', (data) => {
    const { type } = JSON.parse(String(data)) as { type: string }
    if (type === 'ping') socket.send('{"type":"pong"}')
    if (type !== 'connection_ack') return
    isAcknowledged = true
    acknowledgedCount += 1
  })
  socket.on('error', (error) => count((error as NodeJS.ErrnoException).code ?? error.message))
  socket.on('close', (code, reason) => {
    count(`${isAcknowledged ? 'lost' : 'refused'} ${code} ${reason}`)
    if (isAcknowledged) acknowledgedCount -= 1
    setTimeout(() => open(wsUrl, number), 1000 + Math.random() * 1000)
  })
}

function count(failure: string): void {
  failures[failure] = (failures[failure] ?? 0) + 1
}

function sessionIdOf(number: number): string {
  return `00000000-0000-4000-8000-${String(number).padStart(12, '0')}`
}

process.once('message', (order: StormOrder) => {
  const { wsUrls, from, count } = order
  for (let number = from; number < from + count; number += 1) open(String(wsUrls[number % wsUrls.length]), number)
  setInterval(() => process.send?.({ acknowledgedCount, failures } satisfies StormState), REPORT_MS)
})
process.once('disconnect', () => process.exit())
process.send?.('ready')
