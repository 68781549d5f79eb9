/** Idle connections of load balancers: open for as long as the setting says, and closed at once by a stop. */
import { createServer, type Server } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { expect, it } from 'vitest'
import { createRollcall } from '../../src/app.ts'
import { parseConfig } from '../../src/config.ts'
import { serverOptions } from '../../src/server/server-options.ts'
import { cleanupsAfterEach } from '../support/cleanup.ts'
import { createReadLog } from '../support/log.ts'
import { startProcess } from '../support/process.ts'
import { embeddedData, QUICK, listen as serve } from '../support/server.ts'
import { until } from '../support/wait.ts'

const cleanups = cleanupsAfterEach()

/** A connection as a balancer keeps it: asked now and then, and never closed by this side. */
function openConnection(port: number) {
  const socket = connect(port, '127.0.0.1')
  socket.on('error', () => {})
  let text = ''
  let closedAtMs: number | null = null
  socket.on('data', (chunk) => {
    text += chunk.toString('latin1')
  })
  socket.on('close', () => {
    closedAtMs = performance.now()
  })
  cleanups.push(async () => socket.destroy())
  return {
    /** @returns the head of the answer */
    async ask(path = '/healthz'): Promise<string> {
      text = ''
      socket.write(`GET ${path} HTTP/1.1\r\nhost: localhost\r\n\r\n`)
      await until(() => text.includes('ok\n') || closedAtMs !== null, { what: 'the answer' })
      return text.slice(0, text.indexOf('\r\n\r\n'))
    },
    closedAtMs: () => closedAtMs,
  }
}

async function listen(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  cleanups.push(async () => {
    server.closeAllConnections()
    server.close()
  })
  return (server.address() as AddressInfo).port
}

async function startedProcess(settings: Readonly<Record<string, string>> = {}) {
  const data = await embeddedData()
  cleanups.push(data.drop)
  const process = await startProcess({ ...data.settings, ...settings })
  cleanups.push(() => process.end('SIGKILL'))
  return process
}

it('a process keeps an idle connection for KEEP_ALIVE_TIMEOUT', async () => {
  const { url } = await startedProcess({ KEEP_ALIVE_TIMEOUT: '1s' })
  const connection = openConnection(Number(new URL(url).port))
  expect(await connection.ask()).toContain('Keep-Alive: timeout=1\r\n')
  const answeredAtMs = performance.now()
  const closedAtMs = await until(() => connection.closedAtMs(), { what: 'the end of the idle connection' })
  expect(closedAtMs - answeredAtMs).toBeGreaterThan(900)
})

it('the time for the head of a request does not run while a connection is idle', async () => {
  const headersTimeMs = 200
  const config = parseConfig({ KEEP_ALIVE_TIMEOUT: '60s' })
  let isChecked = false
  const server = createServer(serverOptions(config, headersTimeMs), (_request, response) => response.end('ok\n'))
  const port = await listen(server)
  const idle = openConnection(port)
  await idle.ask()
  // Node ends a connection that has sent no whole head by then: from that on its check has been there.
  const slow = connect(port, '127.0.0.1')
  slow.write('GET / HTTP/1.1\r\n')
  slow.on('error', () => {})
  slow.resume()
  slow.on('close', () => {
    isChecked = true
  })
  await until(() => isChecked, { what: 'the end of a request without a head' })
  expect(await idle.ask()).toContain('200 OK')
  expect(idle.closedAtMs()).toBeNull()
})

it('a process says 75 s by default, longer than the 60 s of load balancers, and waits for none when it stops', async () => {
  const process = await startedProcess()
  const idle = openConnection(Number(new URL(process.url).port))
  expect(await idle.ask()).toContain('Keep-Alive: timeout=75\r\n')
  const stoppedAtMs = performance.now()
  expect(await process.end('SIGTERM')).toBe(0)
  await until(() => idle.closedAtMs() !== null, { what: 'the end of the connection' })
  expect(performance.now() - stoppedAtMs).toBeLessThan(60_000)
})

it('a server that drains answers, and ends each connection with the answer', async () => {
  const data = await embeddedData()
  cleanups.push(data.drop)
  const rollcall = createRollcall({ ...QUICK, ...data.settings }, createReadLog().log)
  const server = await serve(rollcall)
  cleanups.push(server.stop)
  await rollcall.ready
  const connection = openConnection(Number(new URL(server.url).port))
  expect(await connection.ask()).toContain('Connection: keep-alive')
  await rollcall.drain()
  const head = await connection.ask()
  expect(head).toContain('HTTP/1.1 200')
  expect(head).toContain('Connection: close')
  await until(() => connection.closedAtMs() !== null, { what: 'the end of the connection' })
})
