/** The server says its version as it is connected to, and the operator is warned where it has known vulnerabilities. */

import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { expect, it } from 'vitest'
import { cleanupsAfterEach } from '../../support/cleanup.ts'
import { until } from '../../support/wait.ts'
import { untilJoined } from '../redis-harness.ts'
import { ownRedis } from './own-redis.ts'

const redis = ownRedis()
const cleanups = cleanupsAfterEach()

/** In front of the server: its version reads as an older one, of as many characters. */
async function openAgeingProxy(): Promise<string> {
  const { port } = redis.server()
  const clients = new Set<Socket>()
  const proxy = createServer((client) => {
    clients.add(client)
    const server = connect(port, '127.0.0.1')
    for (const socket of [client, server]) socket.on('error', () => socket.destroy())
    client.pipe(server)
    server.on('data', (chunk) => client.write(Buffer.from(age(chunk.toString('latin1')), 'latin1')))
    server.on('close', () => client.destroy())
    client.on('close', () => server.destroy())
  })
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve))
  cleanups.push(async () => {
    proxy.close()
    for (const client of clients) client.destroy()
  })
  return `redis://127.0.0.1:${(proxy.address() as AddressInfo).port}`
}

function age(text: string): string {
  return text.replace(/((?:redis|valkey)_version:)([\d.]+)/g, (_, name, version) => {
    return name + '7.2.0'.padEnd(version.length, '0').slice(0, version.length)
  })
}

it('warns once of a server with known vulnerabilities, and of another one not at all', async () => {
  const nodes = await redis.nodes()
  const url = await openAgeingProxy()
  const warnings: string[] = []
  const store = nodes.open({ through: { work: url, lease: url, bell: url }, onWarn: (_, said) => warnings.push(said) })
  await untilJoined(store)
  expect(warnings).toEqual([
    expect.stringMatching(/^(Redis|Valkey) 7\.2\.0+ has known vulnerabilities: use 7\.2\.1\d /),
  ])

  // Each connection that is made again asks again.
  await nodes.redis.client('KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
  await until(() => warnings.length > 1, { what: 'a word of the loss' })
  await untilJoined(store)
  expect(warnings.filter((said) => said.includes('known vulnerabilities'))).toHaveLength(1)
})
