// What an app is after reading the documentation of graphql-ws, and no more: it knows nothing of pages that are left.
import { createClient } from 'graphql-ws'

const parameters = new URLSearchParams(location.search)
sessionStorage.sessionId ??= crypto.randomUUID()

const online = new Set()
let connection = 'connecting'

const client = createClient({
  url: parameters.get('socket'),
  connectionParams: {
    authorization: `Bearer dev:${parameters.get('user')}`,
    sessionId: sessionStorage.sessionId,
    rooms: parameters.getAll('room'),
  },
  on: {
    connected() {
      connection = 'connected'
      client.subscribe(
        { query: '{ onlineUsers(first: 100) { nodes { id } } }' },
        {
          next({ data }) {
            online.clear()
            for (const { id } of data.onlineUsers.nodes) online.add(id)
            show()
          },
          error: show,
          complete() {},
        },
      )
    },
    closed(event) {
      connection = `closed ${event.code}`
      show()
    },
  },
})

client.subscribe(
  { query: 'subscription { presenceChanged { kind user { id } } }' },
  {
    next({ data }) {
      const { kind, user } = data.presenceChanged
      if (kind === 'LEAVE') online.delete(user.id)
      else online.add(user.id)
      show()
    },
    error: show,
    complete() {},
  },
)

function show() {
  const own = online.has(parameters.get('user')) ? 'online' : 'offline'
  document.getElementById('state').textContent = `${connection}; I am ${own}`
}
