/** The bell before it listens. */
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { expect, it } from 'vitest'
import { openBell } from '../../src/stores/redis/bell.ts'
import { connectTo } from '../../src/stores/redis/connect.ts'
import { until } from '../support/wait.ts'

it('goes on where the connection is lost before the first SUBSCRIBE is answered', async () => {
  let attemptCount = 0
  const info = 'redis_version:7.0.0\r\nloading:0\r\n'
  const server = createServer((socket) => {
    socket.on('error', () => {})
    socket.on('data', (data) => {
      const said = data.toString().toLowerCase()
      if (said.includes('subscribe')) {
        attemptCount += 1
        socket.destroy()
      } else if (said.includes('\r\ninfo\r\n')) socket.write(`$${info.length}\r\n${info}\r\n`)
      else socket.write('+OK\r\n'.repeat(said.split('setinfo').length - 1))
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = `redis://127.0.0.1:${(server.address() as AddressInfo).port}`
  const unhandled: unknown[] = []
  const note = (reason: unknown): void => void unhandled.push(reason)
  process.on('unhandledRejection', note)
  const errors: unknown[] = []
  const bell = openBell({
    connection: connectTo({ url, app: 'test', timeLimitMs: 1000, retryWithinMs: 50 }),
    channel: 'bell',
    onMessage() {},
    onStrange() {},
    onListening() {},
    onError: (error) => void errors.push(error),
    onRefused() {},
  })
  try {
    await until(() => attemptCount >= 3, { what: 'three attempts to subscribe' })
    // Said once, however often it tries.
    expect(errors).toHaveLength(1)
    expect(unhandled).toEqual([])
  } finally {
    process.off('unhandledRejection', note)
    bell.close()
    server.close()
  }
})
