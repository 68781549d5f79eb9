/**
 * The tab's own presence: one socket that is its session, what the person chose, and leaving and coming back.
 *
 * It knows no page: the server's words go out by callbacks.
 */
import { type Client, createClient } from 'graphql-ws'
import { type ActivityBeats, createActivityBeats } from './activity.ts'
import { Beat, ChooseStatus, ChooseVisibility, GoOffline, Me, MeChanged, type OwnViewer } from './operations.ts'
import { ask, closeReason, follow } from './requests.ts'

/** graphql-ws and our server: what a reconnect does not help against. */
const REFUSED = new Set([4400, 4401, 4403, 4406, 4500])
/** What the server tells with its acknowledgement; until then its default. */
const HEARTBEAT_INTERVAL_MS = 30_000
/** Longer than a server that lives takes, however slow the network. */
const ACKNOWLEDGEMENT_WAIT_MS = 10_000
/** The first retry comes within half a second, so that a restart of the server is hardly seen; later ones rest. */
const FIRST_RETRY_MS = 500
const LONGEST_RETRY_MS = 10_000

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
  /** Closes the socket; the session ends by the server's grace unless it left before. */
  close(): void
}

export function createOwnPresence(options: OwnPresenceOptions): OwnPresence {
  const { url, token, sessionId, device, room, isVisible, webSocketImpl, onConnection, onViewer, onLeft } = options
  const rooms = room === null ? [] : [room]
  let hasLeft = options.hasLeft
  let acknowledged: { readonly sessionId: string | null; readonly heartbeatIntervalMs: number } | null = null
  let isClosed = false

  const client = createClient({
    url,
    ...(webSocketImpl === undefined ? {} : { webSocketImpl }),
    connectionParams: () => ({
      authorization: `Bearer ${token}`,
      sessionId,
      device,
      rooms,
      active: isVisible(),
      observer: hasLeft,
    }),
    retryAttempts: Number.POSITIVE_INFINITY,
    retryWait: (retries) =>
      new Promise((resolve) => {
        setTimeout(resolve, Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** retries) * (0.5 + Math.random() / 2))
      }),
    connectionAckWaitTimeout: ACKNOWLEDGEMENT_WAIT_MS,
    // A browser tells of a connection that could not be made by an event that is no close event.
    shouldRetry: (cause) => !REFUSED.has(closeCode(cause)),
    on: {
      connected(_socket, payload) {
        acknowledged = (payload ?? null) as typeof acknowledged
        onConnection({ kind: 'open' })
        // What changed while there was no connection.
        ask(client, Me, {}).then(({ viewer }) => onViewer(viewer), ignore)
      },
      closed(event) {
        acknowledged = null
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
    beat() {
      // After leaving, an active heartbeat would bring the person back.
      if (!hasLeft && acknowledged !== null) sendBeat().catch(ignore)
    },
  })

  /** The session's rooms and device go along: where it had ended, the beat starts it again. */
  async function sendBeat(): Promise<void> {
    const { heartbeat } = await ask(client, Beat, { active: true, device, rooms })
    onViewer(heartbeat.viewer)
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
    { next: ({ viewerChanged }) => onViewer(viewerChanged), error: ignore },
  )

  return {
    client,
    activity,

    async chooseStatus(status, message) {
      onViewer((await ask(client, ChooseStatus, { status, message })).setStatus.viewer)
    },

    async chooseVisibility(visibility) {
      onViewer((await ask(client, ChooseVisibility, { visibility })).setVisibility.viewer)
    },

    async leave() {
      setLeft(true)
      try {
        onViewer((await ask(client, GoOffline, {})).goOffline.viewer)
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

    close() {
      isClosed = true
      activity.stop()
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
