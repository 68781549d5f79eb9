/** All tabs of a browser: which of them share a socket, and which of them are there. */
import type { OpenSocket } from '../connection.ts'
import type { FromTab } from '../shared/protocol.ts'
import { Hub } from './hub.ts'
import { Tab, type TabPort } from './tab.ts'
import { type InitParams, TabSocket } from './tab-socket.ts'

/** How soon a tab whose timers the browser holds back looks at what is overdue. */
const TICK_MS = 2000
/** 30 s, as the server gives a page that answers nothing (PAGE_PING_INTERVAL and PAGE_PONG_TIMEOUT). */
const MAX_UNANSWERED = 15

export class Tabs {
  readonly #openSocket: OpenSocket
  readonly #tickMs: number
  readonly #tabs = new Set<Tab>()
  readonly #hubs = new Map<string, Hub>()
  #ticking: ReturnType<typeof setInterval> | undefined

  constructor(openSocket: OpenSocket, tickMs: number = TICK_MS) {
    this.#openSocket = openSocket
    this.#tickMs = tickMs
  }

  connect(port: TabPort): void {
    const tab = new Tab(port)
    port.onmessage = ({ data }) => {
      tab.heard()
      this.#take(tab, data)
    }
  }

  /** The browser says that it is online again. */
  wake(): void {
    for (const hub of this.#hubs.values()) hub.wake(true)
  }

  #take(tab: Tab, message: FromTab): void {
    switch (message.type) {
      case 'open': {
        const { socket, url, user, isTokenRenewable } = message
        tab.isTokenRenewable = isTokenRenewable
        this.#watch(tab)
        new TabSocket(tab, socket, url, user)
        tab.say({ type: 'open', socket })
        break
      }
      case 'message': {
        const socket = tab.sockets.get(message.socket)
        if (socket) this.#read(socket, JSON.parse(message.text))
        break
      }
      case 'close': {
        const socket = tab.sockets.get(message.socket)
        // Before it said who it is, it has no hub.
        if (socket?.params) tab.hub?.closed(socket, message.code)
        else socket?.over()
        break
      }
      case 'token':
        tab.answered(message)
        break
      case 'retry':
        tab.hub?.retryNow()
        break
      case 'leave':
        // A page in the back/forward cache is asked nothing: it would be thrown out.
        this.#unwatch(tab)
        tab.hub?.leave(tab)
        break
      case 'forget':
        tab.hub?.forget(tab)
        this.#unwatch(tab)
        break
    }
  }

  #read(socket: TabSocket, { type, id, payload }: { type: string; id: string; payload: never }): void {
    const { hub } = socket.tab
    if (type === 'connection_init') this.#join(socket, payload as InitParams)
    else if (type === 'subscribe') hub?.start(socket, id, payload)
    else if (type === 'complete') socket.stop(id)
    else if (type === 'ping') {
      // The worker is there. Whether the server is, its next word says.
      hub?.ping()
      socket.say({ type: 'pong' })
    }
  }

  #join(socket: TabSocket, params: InitParams): void {
    const { tab, url, user } = socket
    const token = params.authorization.replace(/^Bearer /, '')
    const key = keyOf(url, user, token)
    let hub = this.#hubs.get(key)
    if (!hub) {
      const made = new Hub(
        {
          url,
          openSocket: this.#openSocket,
          isOwnToken: (other) => keyOf(url, user, other) === key,
          onEmpty: () => this.#hubs.get(key) === made && this.#hubs.delete(key),
        },
        token,
      )
      hub = made
      this.#hubs.set(key, hub)
    }
    if (tab.hub !== hub) tab.hub?.forget(tab)
    tab.hub = hub
    void hub.join(socket, params)
  }

  #watch(tab: Tab): void {
    this.#tabs.add(tab)
    this.#ticking ??= setInterval(() => this.#tick(), this.#tickMs)
  }

  #unwatch(tab: Tab): void {
    this.#tabs.delete(tab)
    if (this.#tabs.size > 0) return
    clearInterval(this.#ticking)
    this.#ticking = undefined
  }

  #tick(): void {
    for (const tab of [...this.#tabs]) {
      // Ticks are counted, and not time, which also passes while the machine sleeps.
      if (tab.unansweredTicks < MAX_UNANSWERED) tab.tick()
      else {
        this.#unwatch(tab)
        tab.hub?.lost(tab)
      }
    }
  }
}

/** Tabs whose sockets may be one: the same server, the same user, the same rights. */
function keyOf(url: string, user: string, token: string): string {
  return JSON.stringify([url, user, identityOf(token)])
}

/** Tokens of one user differ in when they were issued and run out. One that is no JWT is compared as a whole. */
function identityOf(token: string): string {
  try {
    const body = String(token.split('.')[1]).replace(/-/g, '+').replace(/_/g, '/')
    const { iat, exp, nbf, jti, ...claims } = JSON.parse(atob(body)) as Record<string, unknown>
    return JSON.stringify(claims)
  } catch {
    return token
  }
}
