/** One client of Rollcall in the process of the bench itself: it follows changes, asks, and can be told not to read. */
import { randomUUID } from 'node:crypto'
import { WebSocket } from 'ws'
import { signToken } from './peers/tokens.ts'
import { METRICS_TOKEN, SECRET, type Server } from './servers.ts'

export interface SeenChange {
  readonly kind: 'JOIN' | 'UPDATE' | 'LEAVE'
  readonly user: { readonly id: string }
}

export interface Observer {
  pause(): void
  resume(): void
  close(): void
  /** @returns the answer's data */
  ask<Data>(query: string): Promise<Data>
}

/** @param selection - of `presenceChanged`, with its arguments; of each change `kind` and `user { id }` are asked for too */
export async function openObserver(
  { url }: Pick<Server, 'url'>,
  selection: { readonly args: string; readonly fields: string },
  onChange: (change: SeenChange) => void,
): Promise<Observer> {
  const token = await signToken({ id: randomUUID(), name: 'An observer' }, SECRET)
  const socket = new WebSocket(`${url.replace('http', 'ws')}/graphql`, 'graphql-transport-ws')
  const answers = new Map<string, (data: never) => void>()
  const say = (message: object) => socket.send(JSON.stringify(message))
  socket.on('open', () =>
    say({ type: 'connection_init', payload: { authorization: `Bearer ${token}`, observer: true } }),
  )
  await new Promise<void>((ready, fail) => {
    socket.on('error', fail)
    socket.on('message', (text) => {
      const { type, id, payload } = JSON.parse(String(text))
      if (type === 'connection_ack') ready()
      if (type === 'ping') say({ type: 'pong' })
      if (type !== 'next') return
      if (payload.data?.presenceChanged) onChange(payload.data.presenceChanged as SeenChange)
      answers.get(id)?.(payload.data as never)
      answers.delete(id)
    })
  })
  const query = `subscription { presenceChanged${selection.args} { kind user { id } ${selection.fields} } }`
  say({ id: 'changes', type: 'subscribe', payload: { query } })
  return {
    pause: () => socket.pause(),
    resume: () => socket.resume(),
    close: () => socket.terminate(),
    ask: (asked) =>
      new Promise((resolve) => {
        const id = randomUUID()
        answers.set(id, resolve as (data: never) => void)
        say({ id, type: 'subscribe', payload: { query: asked } })
      }),
  }
}

/** @returns a number that Rollcall tells of itself. That of the event loop's longest stall is since the last look */
export async function readMetric({ url }: Pick<Server, 'url'>, name: string): Promise<number> {
  const response = await fetch(`${url}/metrics`, { headers: { authorization: `Bearer ${METRICS_TOKEN}` } })
  const value = new RegExp(`^${name} (\\S+)$`, 'm').exec(await response.text())?.[1]
  if (value === undefined) throw new Error(`Rollcall tells no ${name}.`)
  return Number(value)
}
