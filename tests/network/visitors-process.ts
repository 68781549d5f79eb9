/**
 * Visitors in a namespace of their own, where the test itself is not: a process that is sent commands, and answers each.
 */
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { type ClientOptions, WebSocket } from 'ws'
import { wrongSockets } from '../fault/people.ts'
import type { Visitor } from '../fault/person.ts'
import { lossesOf, openStockVisitor } from '../fault/visitors.ts'
import { systemMs } from './system-clock.ts'

export type Command =
  /** Opens `count` visitors from this address, at random within `overMs`. Answers when all are connected. */
  | {
      readonly name: 'enter'
      readonly group: string
      readonly address: string
      readonly url: string
      readonly count: number
      readonly overMs: number
    }
  /** Opens a bare connection, which says nothing and is read. */
  | { readonly name: 'connect'; readonly address: string; readonly host: string; readonly port: number }
  | { readonly name: 'state'; readonly group: string }

export interface Entered {
  /** By the id of its visitor, the port that each speaks from. */
  readonly ports: Readonly<Record<string, number>>
  /** By the id, when it was acknowledged and sent its last message, by the machine's clock. */
  readonly acknowledgedAtMs: Readonly<Record<string, number>>
}

export interface State {
  /** Whose own socket does not answer for their own session, a sentence each. */
  readonly wrong: readonly string[]
  /** The sockets that were lost, a sentence each. */
  readonly lost: readonly string[]
}

export type Answer = Entered | State | null

const groups = new Map<string, readonly Visitor[]>()

async function enter({ group, address, url, count, overMs }: Extract<Command, { name: 'enter' }>): Promise<Entered> {
  const ports: Record<string, number> = {}
  const acknowledgedAtMs: Record<string, number> = {}
  const visitors = await Promise.all(
    Array.from({ length: count }, async (_, index) => {
      await sleep(Math.random() * overMs)
      const id = `${group}-${index}`
      const visitor = openStockVisitor(
        id,
        url,
        socketFrom(address, (port) => Object.assign(ports, { [id]: port })),
      )
      while (!visitor.isConnected()) await sleep(20)
      acknowledgedAtMs[id] = systemMs() - (performance.now() - Number(visitor.connectedSinceMs()))
      return visitor
    }),
  )
  groups.set(group, visitors)
  return { ports, acknowledgedAtMs }
}

/** @returns the class of a WebSocket that speaks from this address */
function socketFrom(address: string, onPort: (port: number) => void) {
  return class extends WebSocket {
    constructor(url: string, protocols: string | string[]) {
      super(url, protocols, { localAddress: address } satisfies ClientOptions)
      this.once('upgrade', ({ socket }) => onPort(Number(socket.localPort)))
    }
  }
}

async function state({ group }: Extract<Command, { name: 'state' }>): Promise<State> {
  const visitors = groups.get(group) ?? []
  return { wrong: await wrongSockets(visitors, () => []), lost: lossesOf(visitors) }
}

async function connectFrom({ address, host, port }: Extract<Command, { name: 'connect' }>): Promise<null> {
  const socket = connect({ host, port, localAddress: address })
  socket.on('error', () => {})
  await new Promise((resolve) => socket.once('connect', resolve))
  socket.resume()
  return null
}

function obey(command: Command): Promise<Answer> {
  switch (command.name) {
    case 'enter':
      return enter(command)
    case 'connect':
      return connectFrom(command)
    case 'state':
      return state(command)
  }
}

export interface Asked {
  readonly number: number
  readonly command: Command
}

export interface Answered {
  readonly number: number
  readonly answer: Answer
}

process.on('message', async ({ number, command }: Asked) => {
  process.send?.({ number, answer: await obey(command) } satisfies Answered)
})
// The test is over, however it ended.
process.on('disconnect', () => process.exit(0))
