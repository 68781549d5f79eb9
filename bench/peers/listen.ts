/** What the processes of all peers do alike: settings from the environment, a port, and a line that says where. */
import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createVerifier } from './tokens.ts'

export const verify = createVerifier(String(process.env.JWT_SECRET))

export function listen(answer?: RequestListener): Server {
  const server = createServer(answer)
  server.listen({ host: '127.0.0.1', port: 0 }, () => {
    const { port } = server.address() as AddressInfo
    process.stdout.write(`${JSON.stringify({ url: `http://127.0.0.1:${port}` })}\n`)
  })
  return server
}
