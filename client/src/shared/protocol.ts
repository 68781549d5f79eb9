/**
 * What a tab and the worker say to each other over the tab's port. What a socket sends and hears is text of
 * graphql-transport-ws (docs/protocol.md): to its tab the worker is the server.
 */
import type { Ending } from '../connection.ts'

export type FromTab =
  /** A socket, by a number that the tab never uses twice. */
  | {
      readonly type: 'open'
      readonly socket: number
      readonly url: string
      /** As the app names it: see `SharedSocketOptions`. */
      readonly user: string
      readonly isTokenRenewable: boolean
    }
  | { readonly type: 'message'; readonly socket: number; readonly text: string }
  | { readonly type: 'close'; readonly socket: number; readonly code: number }
  /** The answer to `token`. `token` is null where nobody is signed in; `error` says why there is none. */
  | { readonly type: 'token'; readonly token: string | null; readonly error: string | null }
  /** The answer to `tick`. */
  | { readonly type: 'tock' }
  | { readonly type: 'retry' }
  /** The page goes, for ever or into the back/forward cache. */
  | { readonly type: 'leave' }
  /** The tab has sockets of its own from now on, and its sessions are theirs. */
  | { readonly type: 'forget' }

export type FromWorker =
  | { readonly type: 'open'; readonly socket: number }
  | { readonly type: 'message'; readonly socket: number; readonly text: string }
  | { readonly type: 'close'; readonly socket: number; readonly ending: Ending }
  /** The worker needs a token, because it connects. */
  | { readonly type: 'token' }
  /** Asks whether the tab runs, and lets it look at what is overdue. */
  | { readonly type: 'tick' }
  /** The shared socket is tried again, or there again. */
  | { readonly type: 'wake' }
