/**
 * The cable between one person's client and the network, which the page can cut.
 *
 * Cut, it closes the socket with 4499, as a client does that has lost its server, and lets no other one open. The client
 * sees only what it would see of a lost network: a close without a close frame, and attempts that fail.
 */

/** RFC 6455: no close frame came. */
const NO_CLOSE_FRAME = { code: 1006, reason: '' }
const LOST = 4499
const CLOSED = 3

interface Ending {
  readonly code: number
  readonly reason: string
}

export class Cable {
  /** For `createPresence`. */
  readonly webSocketImpl: new (
    url: string,
    protocol: string,
  ) => CableSocket
  readonly #listeners = new Set<() => void>()
  #socket: CableSocket | null = null
  #cutAtMs: number | null = null

  constructor() {
    const use = (socket: CableSocket): boolean => {
      this.#socket = socket
      return this.#cutAtMs === null
    }
    this.webSocketImpl = class extends CableSocket {
      constructor(url: string, protocol: string) {
        super(url, protocol, use)
      }
    }
  }

  cut(): void {
    this.#cutAtMs = Date.now()
    this.#socket?.cut()
    this.#changed()
  }

  mend(): void {
    this.#cutAtMs = null
    this.#changed()
  }

  /** When it was cut, in epoch ms; null while it is whole. */
  readonly getSnapshot = (): number | null => this.#cutAtMs

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  #changed(): void {
    for (const listener of [...this.#listeners]) listener()
  }
}

/** What the kit uses of a `WebSocket`. */
class CableSocket {
  onopen: (() => void) | null = null
  onmessage: ((event: MessageEvent) => void) | null = null
  onclose: ((ending: Ending) => void) | null = null
  onerror: (() => void) | null = null
  #socket: WebSocket | null = null

  constructor(url: string, protocol: string, isWhole: (socket: CableSocket) => boolean) {
    if (!isWhole(this)) {
      setTimeout(() => this.onclose?.(NO_CLOSE_FRAME), 0)
      return
    }
    const socket = new WebSocket(url, protocol)
    socket.onopen = () => this.onopen?.()
    socket.onmessage = (event) => this.onmessage?.(event)
    socket.onclose = (ending) => this.onclose?.(ending)
    this.#socket = socket
  }

  get readyState(): number {
    return this.#socket?.readyState ?? CLOSED
  }

  send(text: string): void {
    this.#socket?.send(text)
  }

  close(code: number): void {
    this.#socket?.close(code)
  }

  cut(): void {
    const socket = this.#socket
    if (!socket) return
    this.#socket = null
    socket.onopen = socket.onmessage = socket.onclose = null
    socket.close(LOST)
    this.onclose?.(NO_CLOSE_FRAME)
  }
}
