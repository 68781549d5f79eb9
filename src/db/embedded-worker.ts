/**
 * Runs the embedded Postgres in its own thread, so that no query blocks the event loop, and behind a socket, so that it
 * uses the same driver.
 *
 * Posts `ready` when it listens. On the message `close` it shuts down, and posts `closed` when all data is in its
 * files.
 */
import { rm } from 'node:fs/promises'
import { parentPort, workerData } from 'node:worker_threads'
import { PGlite } from '@electric-sql/pglite'
import { PGLiteSocketServer } from '@electric-sql/pglite-socket'

export interface EmbeddedWorkerData {
  readonly folder: string
  readonly socketPath: string
}

async function serve({ folder, socketPath }: EmbeddedWorkerData): Promise<void> {
  const database = await PGlite.create(folder)
  // A killed process may have left its socket.
  await rm(socketPath, { force: true })
  // PGlite has one session: with a second connection, answers would go to the wrong query.
  const server = new PGLiteSocketServer({ db: database, path: socketPath, maxConnections: 1 })
  await server.start()

  parentPort?.once('message', async () => {
    await server.stop()
    await database.close()
    parentPort?.postMessage('closed')
    parentPort?.close()
  })
  parentPort?.postMessage('ready')
}

await serve(workerData as EmbeddedWorkerData)
