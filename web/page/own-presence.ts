/**
 * The tab's own presence: one socket that is its session, what the person chose, and leaving and coming back.
 *
 * It knows no page: the server's words go out by callbacks.
 */
import { type Client, createClient } from 'graphql-ws'
import { type ActivityBeats, createActivityBeats } from './activity.ts'
import { Beat, ChooseStatus, ChooseVisibility, GoOffline, Me, MeChanged, type OwnViewer } from './operations.ts'
import { ask, closeReason, follow, RequestError } from './requests.ts'

/** graphql-ws and our server: what a reconnect does not help against. */
const REFUSED = new Set([4400, 4401, 4403, 4406, 4500])
/** What the server tells with its acknowledgement; until then its default. */
const HEARTBEAT_INTERVAL_MS = 30_000
/** Longer than a server that lives takes, however slow the network. */
const ACKNOWLEDGEMENT_WAIT_MS = 10_000
/** The first retry comes within half a second, so that a restart of the server is hardly seen; later ones rest. */
const FIRST_RETRY_MS = 500
const LONGEST_RETRY_MS = 10_000

interface Acknowledgement {
  readonly sessionId: string | null
  readonly heartbeatIntervalMs: number
  /** Whether the session was still live. */
  readonly resumed?: boolean
}

export type Connection =
  | { readonly kind: 'connecting' }
  | { readonly kind: 'open' }
  /** It comes back by itself. */
  | { readonly kind: 'lost' }
  /** It does not. */
  | { readonly kind: 'refused'; readonly reason: string }

export interface OwnPresenceOptions {
  readonly url: string
  readonly token: string
  /** A UUID that the tab keeps across reloads. */
  readonly sessionId: string
  readonly device: string
  readonly room: string | null
  /** Left before a reload: the tab watches, and is no session until it comes back. */
  readonly hasLeft: boolean
  /** Whether the person sees the tab: one that opens in the background is no activity. */
  readonly isVisible: () => boolean
  readonly webSocketImpl?: unknown
  readonly onConnection: (connection: Connection) => void
  readonly onViewer: (viewer: OwnViewer) => void
  readonly onLeft: (hasLeft: boolean) => void
}

export interface OwnPresence {
  readonly client: Client
  readonly activity: ActivityBeats
  /** @param message - null clears it */
  chooseStatus(status: OwnViewer['statusChoice'], message: string | null): Promise<void>
  chooseVisibility(visibility: OwnViewer['visibility']): Promise<void>
  leave(): Promise<void>
  comeBack(): Promise<void>
  /**
   * The page goes, and may come back out of the browser's back/forward cache: the socket closes as the person's wish.
   * Left open it would keep them online, for Chromium answers the server's pings for a page that does not run.
   */
  pause(): void
  /** The page is shown again: connects, and goes on where it was. */
  resume(): void
  /** Closes the socket; the session ends by the server's grace unless it left before. */
  close(): void
}

export function createOwnPresence(options: OwnPresenceOptions): OwnPresence {
  const { url, token, sessionId, device, room, isVisible, webSocketImpl, onConnection, onViewer, onLeft } = options
  const rooms = room === null ? [] : [room]
  let hasLeft = options.hasLeft
  let acknowledged: Acknowledgement | null = null
  let viewer: OwnViewer | null = null
  let saidActive = false
  let socket: Pick<WebSocket, 'close'> | null = null
  let isClosed = false
  let shown = Promise.resolve()
  let show: (() => void) | null = null

  const client = createClient({
    // Asked before each connection: while the page is in the back/forward cache there is none.
    url: () => shown.then(() => url),
    ...(webSocketImpl === undefined ? {} : { webSocketImpl }),
    connectionParams() {
      saidActive = isVisible()
      return {
        authorization: `Bearer ${token}`,
        sessionId,
        device,
        rooms,
        active: saidActive,
        observer: hasLeft,
      }
    },
    retryAttempts: Number.POSITIVE_INFINITY,
    retryWait: (retries) =>
      new Promise((resolve) => {
        setTimeout(resolve, Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** retries) * (0.5 + Math.random() / 2))
      }),
    connectionAckWaitTimeout: ACKNOWLEDGEMENT_WAIT_MS,
    // A browser tells of a connection that could not be made by an event that is no close event.
    shouldRetry: (cause) => !REFUSED.has(closeCode(cause)),
    on: {
      opened(opened) {
        socket = opened as typeof socket
        // It was on its way when the page was left.
        if (show !== null) socket?.close(1000, 'The page was left.')
      },
      connected(_socket, payload) {
        acknowledged = (payload ?? null) as Acknowledgement | null
        // The start of a session is activity, and attaching a live one is not.
        if (saidActive && acknowledged?.resumed === false) activity.told()
        onConnection({ kind: 'open' })
        activity.connected()
        // What changed while there was no connection.
        ask(client, Me, {}).then(({ viewer }) => seen(viewer), ignore)
      },
      closed(event) {
        acknowledged = null
        socket = null
        activity.disconnected()
        if (isClosed) return
        const isRefused = REFUSED.has(closeCode(event))
        onConnection(
          isRefused ? { kind: 'refused', reason: closeReason(event) ?? 'No reason was told.' } : { kind: 'lost' },
        )
      },
    },
  })

  const activity = createActivityBeats({
    intervalMs: () => acknowledged?.heartbeatIntervalMs ?? HEARTBEAT_INTERVAL_MS,
    async beat() {
      // After leaving, an active heartbeat would bring the person back.
      if (hasLeft) return true
      try {
        await sendBeat()
        return true
      } catch (error) {
        // The page waited for the answer.
        if (viewer !== null) onViewer(viewer)
        return !(error instanceof RequestError && error.code === 'CLOSED')
      }
    },
  })

  function seen(next: OwnViewer): void {
    viewer = next
    const isIdle = !next.isOnline || (next.statusChoice === 'AUTOMATIC' && next.status === 'AWAY')
    if (isIdle) activity.expired()
    onViewer(next)
  }

  /** The session's rooms and device go along: where it had ended, the beat starts it again. */
  async function sendBeat(): Promise<void> {
    const { heartbeat } = await ask(client, Beat, { active: true, device, rooms })
    seen(heartbeat.viewer)
  }

  function setLeft(value: boolean): void {
    hasLeft = value
    onLeft(value)
  }

  onConnection({ kind: 'connecting' })
  // It keeps the socket open as well: graphql-ws closes one that nothing is asked of.
  const stopFollowing = follow(
    client,
    MeChanged,
    {},
    { next: ({ viewerChanged }) => seen(viewerChanged), error: ignore },
  )

  return {
    client,
    activity,

    async chooseStatus(status, message) {
      seen((await ask(client, ChooseStatus, { status, message })).setStatus.viewer)
    },

    async chooseVisibility(visibility) {
      seen((await ask(client, ChooseVisibility, { visibility })).setVisibility.viewer)
    },

    async leave() {
      setLeft(true)
      try {
        seen((await ask(client, GoOffline, {})).goOffline.viewer)
      } catch (error) {
        setLeft(false)
        throw error
      }
    },

    async comeBack() {
      setLeft(false)
      activity.told()
      if (acknowledged !== null && acknowledged.sessionId !== null) await sendBeat()
      // A socket that watches can be no session: the next one is.
      else client.terminate()
    },

    pause() {
      if (show !== null) return
      shown = new Promise((resolve) => {
        show = resolve
      })
      // A script may say 1000 and not 1001. After it graphql-ws connects again without a wait, when `url` is there.
      socket?.close(1000, 'The page was left.')
      onConnection({ kind: 'lost' })
    },

    resume() {
      show?.()
      show = null
    },

    close() {
      isClosed = true
      activity.disconnected()
      stopFollowing()
      Promise.resolve(client.dispose()).catch(ignore)
    },
  }
}

function closeCode(event: unknown): number {
  return typeof event === 'object' && event !== null && 'code' in event ? Number(event.code) : 0
}

/** Where the connection is lost, `onConnection` says so; where it is closed, nobody asks. */
function ignore(): void {}
