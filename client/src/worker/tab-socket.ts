/** A socket of a tab. To the tab it is one to the server; what it asks goes over the socket that the tabs share. */
import type { Acknowledgement, Connection, Ending, Request } from '../connection.ts'
import type { Variables } from '../operations.ts'
import type { Tab } from './tab.ts'

/** As a presence sends them with `connection_init`. */
export interface InitParams {
  readonly authorization: string
  readonly sessionId: string
  readonly device?: string
  readonly rooms?: readonly string[]
  readonly active?: boolean
  readonly observer?: boolean
}

/** The extension of an operation that says whose it is. */
const SESSION = 'Rollcall-Session'

export class TabSocket {
  readonly tab: Tab
  readonly number: number
  readonly url: string
  readonly user: string
  params: InitParams | null = null
  /** The one that it named, unless another tab has that. */
  sessionId = ''
  /** It has said who it is, and has its session: it waits for the shared socket. */
  isReady = false
  isAcknowledged = false
  isOver = false
  /** What ends each operation that is open. */
  readonly #stops = new Map<string, () => void>()

  constructor(tab: Tab, number: number, url: string, user: string) {
    this.tab = tab
    this.number = number
    this.url = url
    this.user = user
    tab.sockets.set(number, this)
  }

  say(message: object): void {
    if (this.isOver) return
    this.tab.say({ type: 'message', socket: this.number, text: JSON.stringify(message) })
  }

  acknowledge(payload: Acknowledgement): void {
    this.isAcknowledged = true
    this.say({ type: 'connection_ack', payload })
  }

  start(connection: Connection, id: string, request: Request): void {
    const { extensions } = request
    const stop = connection.send(
      { ...request, extensions: { [SESSION]: this.sessionId, ...extensions } as Variables },
      {
        next: (payload) => this.say({ type: 'next', id, payload }),
        end: (errors) => {
          this.#stops.delete(id)
          this.say(errors === null ? { type: 'complete', id } : { type: 'error', id, payload: errors })
        },
      },
    )
    this.#stops.set(id, stop)
  }

  stop(id: string): void {
    this.#stops.get(id)?.()
    this.#stops.delete(id)
  }

  close(ending: Ending): void {
    if (this.isOver) return
    this.over()
    this.tab.say({ type: 'close', socket: this.number, ending })
  }

  /** Nothing more of it. */
  over(): void {
    this.isOver = true
    this.tab.sockets.delete(this.number)
    for (const stop of this.#stops.values()) stop()
    this.#stops.clear()
  }
}
