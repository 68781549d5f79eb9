/** The process: it starts the server, tells where it is, and stops it cleanly. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { resolve } from 'node:path'
import { pino } from 'pino'
import { createRollcall, type Rollcall } from './app.ts'
import { ConfigError, settingsOfEnvironment } from './config.ts'
import { describeAddress, parseAddress } from './db/address.ts'
import { describeOrigins } from './server/origins.ts'
import { serverOptions } from './server/server-options.ts'
import { NODE_LINES, sentenceOf, whyUnsafe } from './versions.ts'

const settings = settingsOfEnvironment()
const log = pino({ level: settings.LOG_LEVEL ?? 'info', base: null })

function start(): Rollcall {
  try {
    return createRollcall(settings, log)
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    process.stderr.write(`${error.message}\n`)
    process.exit(1)
  }
}

const unsafeNode = whyUnsafe('Node', process.versions.node, NODE_LINES)
if (unsafeNode !== null) log.warn({ ...unsafeNode }, sentenceOf(unsafeNode))

const rollcall = start()
const { config } = rollcall
const server = createServer(serverOptions(config))
rollcall.mount(server)
server.on('error', (error) => fail(error, `The server cannot listen on port ${config.PORT}.`))
server.listen({ port: config.PORT, host: config.HOST ?? (config.NODE_ENV === 'production' ? undefined : 'localhost') })

let isStopping = false
rollcall.ready.then(announce, (error) => {
  // Told to stop before it was ready, it cannot become it.
  if (!isStopping) void fail(error, 'The server cannot start.')
})

for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => void stop(signal))

function announce(): void {
  const { port } = server.address() as AddressInfo
  const url = `http://localhost:${port}${config.BASE_PATH}`
  log.info({ url, graphql: `${url}/graphql` }, 'Rollcall is ready.')
  log.info(
    config.DATABASE_URL === null
      ? { folder: resolve(config.DATA_DIR) }
      : { database: describeAddress(parseAddress(config.DATABASE_URL)) },
    config.DATABASE_URL === null
      ? 'The data lies in an embedded Postgres. Set DATABASE_URL for one of your own.'
      : 'The data lies in Postgres.',
  )
  log.info({ origins: describeOrigins(config) }, 'Web pages of these origins may call.')
  if (config.NODE_ENV !== 'production') {
    log.warn({}, '`dev:<userId>` tokens are on: anybody may be anybody. NODE_ENV=production turns them off.')
  }
}

async function stop(signal: string): Promise<void> {
  isStopping = true
  log.info({ signal }, 'Stopping.')
  // Still listening: a load balancer may not have heard yet.
  await rollcall.drain()
  server.close()
  await rollcall.close()
  server.closeAllConnections()
  log.info({}, 'Stopped.')
}

async function fail(error: unknown, message: string): Promise<void> {
  log.error({ err: error }, message)
  process.exitCode = 1
  server.close()
  await rollcall.close()
  server.closeAllConnections()
}
