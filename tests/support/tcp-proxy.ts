/**
 * A connection in between that tests break: it stalls, falls silent without closing, loses answers, or cuts what is
 * open.
 */
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'

/** `up` is what a client sends, `down` what it is sent. */
export type Way = 'up' | 'down'

export interface TcpProxy {
  readonly port: number
  /** Stops passing on what goes these ways, of open and of new connections. Nothing is lost, and nothing is closed. */
  hold(ways: readonly Way[]): void
  /** Passes on what `hold` held back, in its order. */
  release(): void
  /** When bytes of a client were last passed on, by the monotonic clock. */
  lastPassedUpAtMs(): number
  /** Passes nothing on any more in either direction, and closes nothing. */
  fallSilent(): void
  /** What is open passes nothing on any more, and is not closed; new connections are whole. */
  silenceOpen(): void
  /** New connections are whole again, and what fell silent stays so: a machine that is in another network now. */
  leaveSilent(): void
  /** Passes on what is sent, and loses what is answered. */
  loseAnswers(): void
  /** Passes everything on, of new connections. */
  mend(): void
  /** Cuts what is open, and until `mend` each new connection as it comes. */
  refuse(): void
  cut(): void
  /** Leads to another port of the same host from now on, and cuts what leads to the one of before. */
  retarget(port: number): void
  /** Leads new connections to another port, as a name that moves: those that are open stay where they are. */
  move(port: number): void
  connectionCount(): number
  close(): Promise<void>
}

/**
 * @param at - the port to listen on; a free one, where it is left out
 * @param on - the address to listen on
 */
export async function openTcpProxy({
  host,
  port,
  at = 0,
  on = '127.0.0.1',
}: {
  readonly host: string
  readonly port: number
  readonly at?: number
  readonly on?: string
}): Promise<TcpProxy> {
  /** Each with the way of the bytes that are read from it. */
  const sockets = new Map<Socket, Way>()
  let heldWays: readonly Way[] = []
  /** Sockets whose other end is closed, which a stall hides from them. */
  const endedWhileHeld = new Set<Socket>()
  let lastPassedUpAtMs = Number.NEGATIVE_INFINITY
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
    sockets.set(near, 'up').set(far, 'down')
    for (const socket of [near, far]) {
      socket.on('error', () => {})
      socket.on('close', () => sockets.delete(socket))
    }
    const isSilent = (): boolean => state === 'silent' || silenced.has(near)
    near.on('data', (chunk) => {
      if (isSilent()) return
      lastPassedUpAtMs = performance.now()
      far.write(chunk)
    })
    far.on('data', (chunk) => void (!isSilent() && state === 'whole' && near.write(chunk)))
    near.on('close', () => end(far, 'up'))
    far.on('close', () => void (!isSilent() && end(near, 'down')))
    stopReadingHeld()
  })
  server.listen(at, on)
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('No port was given.')

  function cut(): void {
    for (const socket of sockets.keys()) socket.destroy()
  }

  function end(socket: Socket, way: Way): void {
    if (heldWays.includes(way)) endedWhileHeld.add(socket)
    else socket.destroy()
  }

  /** What is not read stays where it is: with the system, and beyond that with its sender. */
  function stopReadingHeld(): void {
    for (const [socket, way] of sockets) if (heldWays.includes(way)) socket.pause()
  }

  return {
    port: address.port,
    hold(ways) {
      heldWays = ways
      stopReadingHeld()
    },
    release() {
      heldWays = []
      for (const socket of sockets.keys()) socket.resume()
      for (const socket of endedWhileHeld) socket.destroy()
      endedWhileHeld.clear()
    },
    lastPassedUpAtMs: () => lastPassedUpAtMs,
    fallSilent() {
      state = 'silent'
    },
    silenceOpen() {
      for (const socket of sockets.keys()) silenced.add(socket)
    },
    leaveSilent() {
      for (const socket of sockets.keys()) silenced.add(socket)
      state = 'whole'
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
    move(to) {
      farPort = to
    },
    connectionCount: () => connectionCount,
    async close() {
      cut()
      server.close()
      await once(server, 'close')
    },
  }
}
