/** Starts the app's subgraph and the gateway. SIGINT and SIGTERM stop both. */
import { once } from 'node:events'
import { createServer, type RequestListener, type Server } from 'node:http'
import { createGateway } from './gateway.ts'
import { createUsersSubgraph } from './users.ts'

const {
  ROLLCALL_URL = 'http://localhost:4000/graphql',
  ROLLCALL_TOKEN,
  USERS_PORT = '4001',
  PORT = '4002',
} = process.env

async function serve(handler: RequestListener, port: string): Promise<Server> {
  const server = createServer(handler).listen(Number(port), 'localhost')
  await once(server, 'listening')
  return server
}

if (ROLLCALL_TOKEN === undefined) {
  process.stderr.write('ROLLCALL_TOKEN is not set: see examples/federation/README.md.\n')
  process.exitCode = 1
} else {
  const users = await serve(createUsersSubgraph(), USERS_PORT)
  const gateway = await createGateway({
    rollcallUrl: ROLLCALL_URL,
    usersUrl: `http://localhost:${USERS_PORT}/graphql`,
    rollcallToken: ROLLCALL_TOKEN,
  })
  const server = await serve(gateway, PORT)
  process.stdout.write(`The gateway is ready: http://localhost:${PORT}/graphql\n`)
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, async () => {
      for (const each of [server, users]) {
        each.close()
        each.closeAllConnections()
      }
      await gateway[Symbol.asyncDispose]()
    })
  }
}
