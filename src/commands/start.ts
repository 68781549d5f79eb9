/** `rollcall start`: starts the server, tells where it is, and stops it cleanly. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { resolve } from 'node:path'
import { createRollcall } from '../app.ts'
import { parseConfig, settingsOfEnvironment } from '../config.ts'
import { describeAddress, parseAddress } from '../db/address.ts'
import { createLog } from '../log.ts'
import { describeOrigins } from '../server/origins.ts'
import { serverOptions } from '../server/server-options.ts'
import { NODE_LINES, sentenceOf, whyUnsafe } from '../versions.ts'

/** @throws ConfigError; whatever fails later is in the log, and the exit code is 1 */
export function start(): void {
  const settings = settingsOfEnvironment()
  const config = parseConfig(settings)
  const log = createLog(config.LOG_LEVEL)
  const unsafeNode = whyUnsafe('Node', process.versions.node, NODE_LINES)
  if (unsafeNode !== null) log.warn({ ...unsafeNode }, sentenceOf(unsafeNode))

  const rollcall = createRollcall(settings, log)
  const server = createServer(serverOptions(config))
  rollcall.mount(server)
  server.on('error', (error) => fail(error, `The server cannot listen on port ${config.PORT}.`))
  server.listen({
    port: config.PORT,
    host: config.HOST ?? (config.NODE_ENV === 'production' ? undefined : 'localhost'),
  })

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
}
