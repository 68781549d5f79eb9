/** A tab, as the worker knows it: its port, and whether it is there. */
import type { FromTab, FromWorker } from '../shared/protocol.ts'
import type { Hub } from './hub.ts'
import type { TabSocket } from './tab-socket.ts'

/** What is used of a `MessagePort`. */
export interface TabPort {
  onmessage: ((event: MessageEvent<FromTab>) => void) | null
  postMessage(message: FromWorker): void
}

interface Answer {
  readonly token: string | null
  readonly error: string | null
}

export class Tab {
  readonly sockets = new Map<number, TabSocket>()
  /** Where its sockets belong. */
  hub: Hub | null = null
  isTokenRenewable = false
  /** Ticks since the tab last said something. */
  unansweredTicks = 0
  readonly #port: TabPort
  #tokenAsked: { readonly answer: Promise<Answer>; readonly resolve: (answer: Answer) => void } | null = null
  readonly #listeners = new Set<() => void>()

  constructor(port: TabPort) {
    this.#port = port
  }

  say(message: FromWorker): void {
    this.#port.postMessage(message)
  }

  heard(): void {
    this.unansweredTicks = 0
    for (const listener of [...this.#listeners]) listener()
  }

  tick(): void {
    this.unansweredTicks += 1
    this.say({ type: 'tick' })
  }

  /** @returns whether the tab says something within `limitMs` */
  isThere(limitMs: number): Promise<boolean> {
    return new Promise((resolve) => {
      const settle = (isThere: boolean): void => {
        clearTimeout(timer)
        this.#listeners.delete(heard)
        resolve(isThere)
      }
      const heard = (): void => settle(true)
      const timer = setTimeout(settle, limitMs, false)
      this.#listeners.add(heard)
      this.say({ type: 'tick' })
    })
  }

  /** A tab that is frozen answers when it runs again. */
  askForToken(): Promise<Answer> {
    if (!this.#tokenAsked) {
      let resolve = (_answer: Answer): void => {}
      const answer = new Promise<Answer>((settle) => {
        resolve = settle
      })
      this.#tokenAsked = { answer, resolve }
      this.say({ type: 'token' })
    }
    return this.#tokenAsked.answer
  }

  answered(answer: Answer): void {
    this.#tokenAsked?.resolve(answer)
    this.#tokenAsked = null
  }
}
