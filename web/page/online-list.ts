/**
 * The list of who is online, without a gap: read its position with the first page, read the other pages, follow the
 * changes after that position, and apply each as an upsert or a removal. After a lost connection it goes on from the
 * last position that it knows; where that is too old, it reads again.
 *
 * It knows no page and no browser: it runs wherever a graphql-ws client does.
 */
import { type OnlineUser, OnlineUsers, PositionAdvanced, PresenceChanged } from './operations.ts'
import { ask, follow, RequestError, type SocketClient } from './requests.ts'

/** The server gives a word every 10 s: two may come late before what is shown counts as stale. */
const STALE_AFTER_MS = 25_000
const PAGE_SIZE = 500
/** Waits between readings that failed: doubled each time, from the first to the longest. */
const FIRST_WAIT_MS = 500
const LONGEST_WAIT_MS = 15_000

/** Codes that another try can help against; whatever else is refused stays refused. */
const PASSING_CODES = new Set(['POSITION_EXPIRED', 'UNAVAILABLE', 'RATE_LIMITED', 'INTERNAL'])

export type Freshness =
  | { readonly kind: 'reading' }
  | { readonly kind: 'live' }
  /** What is shown was right at `asOfMs` (epoch ms, by this machine's clock), and may not be now. */
  | { readonly kind: 'stale'; readonly asOfMs: number }
  | { readonly kind: 'failed'; readonly error: RequestError }

export interface ListChange {
  readonly kind: 'JOIN' | 'UPDATE' | 'LEAVE'
  readonly user: OnlineUser
  /** As the list showed them before; null where it did not. */
  readonly previous: OnlineUser | null
  readonly at: string
}

export interface OnlineListOptions {
  readonly client: SocketClient
  /** Null: everyone. */
  readonly room: string | null
  readonly pageSize?: number
  readonly staleAfterMs?: number
  /** Told after every step; `users` is the list's own map, by id, and is not to be changed. */
  readonly onUpdate: (users: ReadonlyMap<string, OnlineUser>, freshness: Freshness) => void
  readonly onChange?: (change: ListChange) => void
}

export interface OnlineList {
  stop(): void
}

export function followOnlineList(options: OnlineListOptions): OnlineList {
  const { client, room, onUpdate, onChange, pageSize = PAGE_SIZE, staleAfterMs = STALE_AFTER_MS } = options
  const stopping = new AbortController()
  const { signal } = stopping
  let users = new Map<string, OnlineUser>()
  let freshness: Freshness = { kind: 'reading' }
  /** When what is shown was last known to be right; null while nothing was read. */
  let rightAtMs: number | null = null
  let failureCount = 0

  function show(next: Freshness): void {
    freshness = next
    if (!signal.aborted) onUpdate(users, freshness)
  }

  function showLive(): void {
    rightAtMs = Date.now()
    failureCount = 0
    show({ kind: 'live' })
  }

  function showStale(): void {
    // A list that was read and not followed yet goes stale as well.
    if (freshness.kind !== 'stale' && rightAtMs !== null) show({ kind: 'stale', asOfMs: rightAtMs })
  }

  async function keepFollowing(): Promise<void> {
    while (!signal.aborted) {
      try {
        await followAfter(await readPages())
      } catch (error) {
        if (signal.aborted) return
        if (!(error instanceof RequestError && PASSING_CODES.has(error.code))) {
          return show({
            kind: 'failed',
            error: error instanceof RequestError ? error : new RequestError('INTERNAL', String(error)),
          })
        }
        showStale()
        // A position runs out once, and reading again helps at once; whatever comes twice waits.
        if (error.code !== 'POSITION_EXPIRED' || failureCount > 0) await pass(waitMs(failureCount), signal)
        failureCount += 1
      }
    }
  }

  /** @returns the position of the first page, to follow from */
  async function readPages(): Promise<string> {
    const read = new Map<string, OnlineUser>()
    const startedAtMs = Date.now()
    let position: string | null = null
    let after: string | null = null
    for (;;) {
      const page: Awaited<ReturnType<typeof readPage>> = await readPage(after)
      position ??= page.position
      for (const user of page.nodes) read.set(user.id, user)
      if (!page.pageInfo.hasNextPage) break
      after = page.pageInfo.endCursor
    }
    users = read
    rightAtMs = startedAtMs
    show(freshness.kind === 'stale' ? { kind: 'stale', asOfMs: rightAtMs } : freshness)
    return position
  }

  async function readPage(after: string | null) {
    // What was asked is sent again by the next socket, where this one is dead without knowing it.
    const timer = setInterval(() => client.terminate(), staleAfterMs)
    try {
      return (await ask(client, OnlineUsers, { room, first: pageSize, after }, signal)).onlineUsers
    } finally {
      clearInterval(timer)
    }
  }

  /** Rejects with what ended it. */
  function followAfter(start: string): Promise<never> {
    return new Promise((_, reject) => {
      let position = start
      let heardAtMs = performance.now()
      let timer: ReturnType<typeof setTimeout>

      function end(error: RequestError): void {
        clearTimeout(timer)
        for (const stop of stops) stop()
        reject(error)
      }

      function silence(): void {
        showStale()
        // The socket may be dead without knowing it: a new one tells.
        if (performance.now() - heardAtMs >= staleAfterMs) client.terminate()
        timer = setTimeout(silence, staleAfterMs)
      }

      function watch(): void {
        clearTimeout(timer)
        timer = setTimeout(silence, staleAfterMs)
      }

      const ended = () => end(new RequestError('UNAVAILABLE', 'The server ended the stream.'))
      const stops = [
        client.on('closed', () => {
          showStale()
          // The next socket has its own time, also where a page was frozen and this one's is over.
          heardAtMs = performance.now()
          watch()
        }),
        follow(
          client,
          PresenceChanged,
          {
            room,
            // graphql-ws reads its variables again when it reconnects: this one is then the last position seen.
            get after() {
              return position
            },
          },
          {
            next({ presenceChanged: change }) {
              heardAtMs = performance.now()
              position = change.position
              apply(change)
            },
            error: end,
            complete: ended,
          },
        ),
        // After the changes, and so at each reconnect: its word covers only what the socket follows already.
        follow(
          client,
          PositionAdvanced,
          {},
          {
            next({ positionAdvanced }) {
              heardAtMs = performance.now()
              position = positionAdvanced
              watch()
              showLive()
            },
            error: end,
            complete: ended,
          },
        ),
      ]
      watch()
      signal.addEventListener('abort', () => end(new RequestError('CLOSED', 'Stopped.')))
    })
  }

  function apply({ kind, user, at }: { kind: ListChange['kind']; user: OnlineUser; at: string }): void {
    const previous = users.get(user.id) ?? null
    if (kind === 'LEAVE') users.delete(user.id)
    else users.set(user.id, user)
    onChange?.({ kind, user, previous, at })
    show(freshness)
  }

  show(freshness)
  void keepFollowing()
  return { stop: () => stopping.abort() }
}

function waitMs(failureCount: number): number {
  return Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** failureCount) * (0.5 + Math.random() / 2)
}

/** Resolves after so long, or when the signal is aborted. */
function pass(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms)
    signal.addEventListener('abort', () => {
      clearTimeout(timer)
      resolve()
    })
  })
}
