/** What components ask: each hook re-renders its component when the answer changes, and not otherwise. */
import { useCallback, useEffect, useReducer, useRef, useSyncExternalStore } from 'react'
import type { Presence } from '../presence.ts'
import type {
  CountSnapshot,
  Freshness,
  LinkSnapshot,
  MeSnapshot,
  OnlineIdsSnapshot,
  OnlineUsersSnapshot,
  Store,
  UserSnapshot,
  UsersSnapshot,
} from '../types.ts'
import { usePresence } from './provider.tsx'

export interface Asking {
  /** Suspends the component until something is known. On a server it never does. */
  readonly suspense?: boolean
}

export interface InRoom extends Asking {
  /** Left out: everywhere. */
  readonly room?: string | null
}

/**
 * Who is online. A component that reads `ids` alone is rendered again when somebody comes or goes; one that reads
 * `users` also when something of somebody changes. Rows that take their user by `useUser(id)` need `ids` alone.
 */
export function useOnlineUsers({ room = null, suspense = false }: InRoom = {}): OnlineUsersSnapshot {
  const store = usePresence().onlineUsers({ room })
  const readsUsers = useRef(false)
  const [, renderAgain] = useReducer((count: number) => count + 1, 0)
  const source: Store<OnlineIdsSnapshot> = readsUsers.current ? store : store.ids
  const list = useStore(source, NOBODY, suspense)
  useEffect(() => {
    // `users` was read for the first time: from now on every change counts.
    if (readsUsers.current && source !== store) renderAgain()
  })
  const snapshot = { ...list }
  // Not enumerable: who spreads the snapshot, or logs it, does not read it.
  Object.defineProperty(snapshot, 'users', {
    get() {
      readsUsers.current = true
      return 'users' in list ? list.users : store.getSnapshot().users
    },
  })
  return snapshot as OnlineUsersSnapshot
}

/** One user, wherever they are shown. All users of a page share a few subscriptions. */
export function useUser(id: string, { suspense = false }: Asking = {}): UserSnapshot {
  return useStore(usePresence().user(id), NO_USER, suspense)
}

/** Some users, in this order. */
export function useUsers(ids: readonly string[], { suspense = false }: Asking = {}): UsersSnapshot {
  return useStore(usePresence().users(ids), NO_USERS, suspense)
}

/** How many are online, everywhere or in a room. */
export function useOnlineCount({ room = null, suspense = false }: InRoom = {}): CountSnapshot {
  return useStore(usePresence().count({ room }), NO_COUNT, suspense)
}

/** Is in the room while the component is mounted, and shows who else is. */
export function useRoom(room: string, asking: Asking = {}): OnlineUsersSnapshot {
  const presence = usePresence()
  useEffect(() => presence.joinRoom(room), [presence, room])
  return useOnlineUsers({ room, ...asking })
}

/** The signed-in user, what others see of them, and what they can do about it. */
export type MyPresence = MeSnapshot &
  Pick<Presence, 'setStatus' | 'setVisibility' | 'goOffline' | 'comeBack' | 'signOut'>

export function useMyPresence({ suspense = false }: Asking = {}): MyPresence {
  const presence = usePresence()
  const me = useStore(presence.me, NO_VIEWER, suspense)
  return {
    ...me,
    setStatus: useCallback((...choice) => presence.setStatus(...choice), [presence]),
    setVisibility: useCallback((...choice) => presence.setVisibility(...choice), [presence]),
    goOffline: useCallback(() => presence.goOffline(), [presence]),
    comeBack: useCallback(() => presence.comeBack(), [presence]),
    signOut: useCallback(() => presence.signOut(), [presence]),
  }
}

/** The connection, and a way not to wait for the next try. */
export function useLink(): LinkSnapshot & Pick<Presence, 'retryNow'> {
  const presence = usePresence()
  const link = useSyncExternalStore(presence.link.subscribe, presence.link.getSnapshot, () => IDLE)
  return { ...link, retryNow: useCallback(() => presence.retryNow(), [presence]) }
}

/** @param initial - what a server renders, and so what a page is hydrated with */
function useStore<Snapshot extends Freshness>(store: Store<Snapshot>, initial: Snapshot, suspense: boolean): Snapshot {
  const snapshot = useSyncExternalStore(store.subscribe, store.getSnapshot, () => initial)
  if (suspense && snapshot.state === 'loading' && typeof document !== 'undefined') throw known(store)
  return snapshot
}

const waits = new WeakMap<Store<Freshness>, Promise<void>>()

/** Resolves when something is known. It reads the store itself, because a component that suspends does not. */
function known(store: Store<Freshness>): Promise<void> {
  const going = waits.get(store)
  if (going) return going
  const wait = new Promise<void>((resolve) => {
    const stop = store.subscribe(() => {
      if (store.getSnapshot().state === 'loading') return
      waits.delete(store)
      resolve()
      stop()
    })
  })
  waits.set(store, wait)
  return wait
}

const LOADING = { state: 'loading', since: null, error: null } as const
const NOBODY: OnlineIdsSnapshot = { ...LOADING, ids: [] }
const NO_USER: UserSnapshot = { ...LOADING, user: null }
const NO_USERS: UsersSnapshot = { ...LOADING, users: [] }
const NO_COUNT: CountSnapshot = { ...LOADING, count: null }
const NO_VIEWER: MeSnapshot = { ...LOADING, viewer: null }
const IDLE: LinkSnapshot = { state: 'idle', retryInMs: null, retryAt: null, error: null }
