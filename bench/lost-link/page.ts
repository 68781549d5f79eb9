/**
 * What the browser runs: some clients of each kind, each behind a link of its own kind, and the value that each shows.
 *
 * Each is set up as its documentation says. `window.shown` is what the benchmark looks at.
 */
import { Centrifuge } from 'centrifuge'
import { createClient } from 'graphql-ws'
import { Socket as PhoenixSocket } from 'phoenix'
import { io } from 'socket.io-client'
import { createPresence } from '../../client/src/index.ts'

/** By kind: the values that its clients show; null where a client says itself that it does not know. */
type Shown = Record<string, (string | null)[]>

const COUNT_QUERY = 'subscription ($room: ID) { onlineCountChanged(room: $room) { count } }'

const params = new URLSearchParams(location.search)
const clients = Number(params.get('clients'))
const room = String(params.get('room'))
const shown: Shown = {}
Object.assign(window, { shown })

function show(kind: string, index: number, value: string | null): void {
  shown[kind] ??= []
  shown[kind][index] = value
}

const CLIENTS: Record<string, (index: number, at: string) => void> = {
  'the kit': (index, at) => {
    const presence = createPresence({
      url: `http://${at}/graphql`,
      token: `dev:kit-${index}`,
      observer: true,
      sessionId: crypto.randomUUID(),
    })
    const count = presence.count({ room })
    const tell = () => {
      const { state, count: value } = count.getSnapshot()
      show('the kit', index, state === 'live' ? String(value) : null)
    }
    count.subscribe(tell)
    tell()
  },

  'graphql-ws': (index, at) => {
    const client = createClient({
      url: `ws://${at}/graphql`,
      connectionParams: { authorization: `Bearer dev:stock-${index}`, observer: true },
      // Its own recipes for clients that must not give up, and that notice a silent link.
      retryAttempts: Number.POSITIVE_INFINITY,
      shouldRetry: () => true,
      keepAlive: 10_000,
      on: {
        opened: (socket) => {
          active = socket as WebSocket
        },
        ping: (received) => {
          if (!received) {
            timer = setTimeout(() => {
              if (active?.readyState === WebSocket.OPEN) client.terminate()
            }, 5000)
          }
        },
        pong: (received) => received && clearTimeout(timer),
      },
    })
    let active: WebSocket | undefined
    let timer: ReturnType<typeof setTimeout>
    client.subscribe<{ onlineCountChanged: { count: number } }>(
      { query: COUNT_QUERY, variables: { room } },
      {
        next: ({ data }) => show('graphql-ws', index, String(data?.onlineCountChanged.count)),
        error() {},
        complete() {},
      },
    )
  },

  'Socket.IO': (index, at) => {
    const socket = io(`http://${at}`, { forceNew: true, transports: ['websocket'] })
    socket.on('count', (count: number) => show('Socket.IO', index, String(count)))
  },

  Phoenix: (index, at) => {
    const socket = new PhoenixSocket(`ws://${at}/socket`)
    socket.connect()
    const channel = socket.channel('room:1')
    channel.on('count', ({ count }: { count: number }) => show('Phoenix', index, String(count)))
    channel.join().receive('ok', ({ count }: { count: number }) => show('Phoenix', index, String(count)))
  },

  Centrifugo: (index, at) => {
    const centrifuge = new Centrifuge(`ws://${at}/connection/websocket`)
    const subscription = centrifuge.newSubscription('room')
    subscription.on('publication', ({ data }) => show('Centrifugo', index, String(data.count)))
    subscription.on('subscribed', ({ data }) => show('Centrifugo', index, String(data.count)))
    subscription.subscribe()
    centrifuge.connect()
  },
}

for (const [kind, start] of Object.entries(CLIENTS)) {
  if (!params.has(`${kind} at`)) continue
  for (let index = 0; index < clients; index += 1) start(index, String(params.get(`${kind} at`)))
}
