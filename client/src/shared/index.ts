/** Shares one socket with the other tabs of this browser, by the SharedWorker of `@rollcall/client/worker`. */
import type { Ending, OpenSocket, Socket } from '../connection.ts'
import { elapsedMs, type Moment, now } from '../elapsed.ts'
import type { SharedSockets, SharingTab, SocketSource } from '../socket-source.ts'
import type { FromTab, FromWorker } from './protocol.ts'

/** A worker that has not answered for so long after it was made is none: a browser starts one in much less. */
const START_LIMIT_MS = 10_000
/** It ticks every 2 s. One that has stopped died, with the process of a tab that crashed: the browser makes another. */
const SILENCE_LIMIT_MS = 6000

export interface SharedSocketOptions {
  /**
   * Who is signed in, for the app whose tokens do not say it, such as one with cookies: tabs share a socket where url,
   * token and this are the same.
   */
  readonly user?: string
}

/**
 * For `createPresence({ socket })`. Where the browser has no SharedWorker, or cannot load this one, each tab has a socket
 * of its own.
 *
 * @param worker - makes the worker, called in a page only and when it connects
 */
export function sharedSocket(worker: () => SharedWorker, { user = '' }: SharedSocketOptions = {}): SocketSource {
  return (tab) => new WorkerSockets(worker, user, tab)
}

class WorkerSockets implements SharedSockets {
  readonly #makeWorker: () => SharedWorker
  readonly #user: string
  readonly #tab: SharingTab
  #port: MessagePort | null = null
  #isBroken = false
  readonly #sockets = new Map<number, PortSocket>()
  #lastNumber = 0
  /** When the worker was made, or last said something. */
  #heardAt: Moment = now()
  #hasAnswered = false
  /** Shows the worker which socket is this tab's. The worker asks for a fresh one where it needs it. */
  #token: string | null = null

  constructor(makeWorker: () => SharedWorker, user: string, tab: SharingTab) {
    this.#makeWorker = makeWorker
    this.#user = user
    this.#tab = tab
  }

  readonly token = async (): Promise<string | null> => {
    if (this.#isBroken || this.#token === null) this.#token = await this.#tab.token()
    return this.#token
  }

  readonly open: OpenSocket = (url, protocol) => {
    const port = this.#reach()
    if (!port) return this.#tab.openOwn(url, protocol)
    this.#lastNumber += 1
    const socket = new PortSocket(this.#lastNumber, port, (number) => this.#sockets.delete(number))
    this.#sockets.set(socket.number, socket)
    const { isTokenRenewable } = this.#tab
    socket.post({ type: 'open', socket: socket.number, url, user: this.#user, isTokenRenewable })
    return socket
  }

  retryNow(): void {
    this.#port?.postMessage({ type: 'retry' } satisfies FromTab)
  }

  leave(): void {
    this.#drop('leave')
    // Nobody knows how long the page is away.
    this.#token = null
  }

  #reach(): MessagePort | null {
    const silentMs = elapsedMs(this.#heardAt)
    if (this.#port && silentMs > (this.#hasAnswered ? SILENCE_LIMIT_MS : START_LIMIT_MS)) {
      if (this.#hasAnswered) this.#drop('forget')
      else this.#break()
    }
    if (this.#isBroken || this.#port) return this.#port
    try {
      const worker = this.#makeWorker()
      // Its script is not there, or the page's policy forbids it.
      worker.onerror = () => this.#break()
      this.#port = worker.port
      this.#port.onmessage = ({ data }) => this.#take(data as FromWorker)
      this.#heardAt = now()
      this.#hasAnswered = false
    } catch {
      this.#isBroken = true
    }
    return this.#port
  }

  #drop(type: 'leave' | 'forget'): void {
    this.#port?.postMessage({ type } satisfies FromTab)
    this.#port?.close()
    this.#port = null
  }

  /** From here on this page has sockets of its own. */
  #break(): void {
    this.#drop('forget')
    this.#isBroken = true
    for (const socket of [...this.#sockets.values()]) this.#close(socket, { code: 1006, reason: '', retryInMs: 0 })
  }

  #take(message: FromWorker): void {
    this.#heardAt = now()
    this.#hasAnswered = true
    if (message.type === 'tick') {
      this.#port?.postMessage({ type: 'tock' } satisfies FromTab)
      this.#tab.onTick()
    } else if (message.type === 'wake') this.#tab.onWake()
    else if (message.type === 'token') void this.#answerToken()
    else {
      const socket = this.#sockets.get(message.socket)
      if (!socket) return
      if (message.type === 'open') socket.opened()
      else if (message.type === 'message') socket.onmessage?.({ data: message.text })
      else this.#close(socket, message.ending)
    }
  }

  #close(socket: PortSocket, ending: Ending): void {
    // It was refused for good: what is tried next needs a token of then.
    if (ending.retryInMs === undefined) this.#token = null
    socket.closed(ending)
  }

  async #answerToken(): Promise<void> {
    let error: string | null = null
    try {
      this.#token = await this.#tab.token()
    } catch (cause) {
      error = String(cause)
    }
    this.#port?.postMessage({ type: 'token', token: this.#token, error } satisfies FromTab)
  }
}

/** A socket to the worker: of it, its connection knows only what it knows of every `WebSocket`. */
class PortSocket implements Socket {
  readonly number: number
  readyState = 0
  onopen: (() => void) | null = null
  onmessage: ((event: { readonly data: string }) => void) | null = null
  onclose: ((ending: Ending) => void) | null = null
  onerror: (() => void) | null = null
  readonly #port: MessagePort
  readonly #onOver: (number: number) => void

  constructor(number: number, port: MessagePort, onOver: (number: number) => void) {
    this.number = number
    this.#port = port
    this.#onOver = onOver
  }

  post(message: FromTab): void {
    this.#port.postMessage(message)
  }

  send(text: string): void {
    this.post({ type: 'message', socket: this.number, text })
  }

  close(code: number): void {
    if (this.readyState === 3) return
    this.readyState = 3
    this.#onOver(this.number)
    this.post({ type: 'close', socket: this.number, code })
  }

  opened(): void {
    if (this.readyState !== 0) return
    this.readyState = 1
    this.onopen?.()
  }

  closed(ending: Ending): void {
    this.readyState = 3
    this.#onOver(this.number)
    this.onclose?.(ending)
  }
}
