/** What opens sockets in place of the browser: the port by which tabs share one. `shared/` has it. */
import type { OpenSocket } from './connection.ts'
import type { LinkOptions } from './link.ts'

/** Called once for each presence. It opens nothing yet. */
export type SocketSource = (tab: SharingTab) => SharedSockets

/** A presence, as it shares its socket. */
export interface SharingTab extends Pick<LinkOptions, 'token' | 'isTokenRenewable'> {
  /** Opens a socket of the tab's own: where sharing is not possible. */
  readonly openOwn: OpenSocket
  /** Comes every few seconds, in time also where the browser holds back the timers of the tab. */
  readonly onTick: () => void
  /** The shared socket is tried again, or there again. */
  readonly onWake: () => void
}

export interface SharedSockets {
  /** In place of the tab's own: it may be one that the shared socket knows already. */
  readonly token: LinkOptions['token']
  readonly open: OpenSocket
  /** The person wants to connect now. */
  retryNow(): void
  /** The page goes, or the app has closed the presence. */
  leave(): void
}
