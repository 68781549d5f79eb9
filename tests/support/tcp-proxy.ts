/**
 * A connection in between that tests break: it falls silent without closing, loses answers, or cuts what is open.
 */
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'

export interface TcpProxy {
  readonly port: number
  /** Passes nothing on any more in either direction, and closes nothing. */
  fallSilent(): void
  /** What is open passes nothing on any more, and is not closed; new connections are whole. */
  silenceOpen(): void
  /** Passes on what is sent, and loses what is answered. */
  loseAnswers(): void
  /** Passes everything on, of new connections. */
  mend(): void
  /** Cuts what is open, and until `mend` each new connection as it comes. */
  refuse(): void
  cut(): void
  /** Leads to another port of the same host from now on, and cuts what leads to the one of before. */
  retarget(port: number): void
  connectionCount(): number
  close(): Promise<void>
}

export async function openTcpProxy({
  host,
  port,
}: {
  readonly host: string
  readonly port: number
}): Promise<TcpProxy> {
  const sockets = new Set<Socket>()
  const silenced = new WeakSet<Socket>()
  let state: 'whole' | 'silent' | 'losing' | 'refusing' = 'whole'
  let connectionCount = 0
  let farPort = port

  const server = createServer((near) => {
    connectionCount += 1
    if (state === 'refusing') {
      near.destroy()
      return
    }
    const far = connect(farPort, host)
    for (const socket of [near, far]) {
      sockets.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => sockets.delete(socket))
    }
    const isSilent = (): boolean => state === 'silent' || silenced.has(near)
    near.on('data', (chunk) => void (!isSilent() && far.write(chunk)))
    far.on('data', (chunk) => void (!isSilent() && state === 'whole' && near.write(chunk)))
    near.on('close', () => far.destroy())
    far.on('close', () => void (!isSilent() && near.destroy()))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('No port was given.')

  function cut(): void {
    for (const socket of sockets) socket.destroy()
  }

  return {
    port: address.port,
    fallSilent() {
      state = 'silent'
    },
    silenceOpen() {
      for (const socket of sockets) silenced.add(socket)
    },
    loseAnswers() {
      state = 'losing'
    },
    mend() {
      state = 'whole'
      cut()
    },
    refuse() {
      state = 'refusing'
      cut()
    },
    cut,
    retarget(to) {
      farPort = to
      cut()
    },
    connectionCount: () => connectionCount,
    async close() {
      cut()
      server.close()
      await once(server, 'close')
    },
  }
}
