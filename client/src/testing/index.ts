/** A presence in memory, for tests of an app's own components: no server, no clock, and every change is there at once. */
import type { Presence } from '../presence.ts'
import { keep } from '../same.ts'
import { ComputedStore } from '../store.ts'
import type {
  CountSnapshot,
  Freshness,
  LinkSnapshot,
  MeSnapshot,
  OnlineIdsSnapshot,
  OnlineUsersSnapshot,
  OnlineUsersStore,
  User,
  UserSnapshot,
  UsersSnapshot,
  Viewer,
} from '../types.ts'

/** What is left out: the id as the name, online, in no room, and no moments. */
export type TestUser = Partial<User> & { readonly id: string; readonly rooms?: readonly string[] }

export interface TestPresenceOptions {
  /** The signed-in user: `me` and online, where nobody is named. */
  readonly me?: TestUser
  /** Who is known from the start. */
  readonly users?: readonly TestUser[]
}

/** What `createPresence` makes, and what a test does with it. Wrap what changes components in `act`. */
export interface TestPresence extends Presence {
  /** Somebody comes online, or something of them changes. `status: 'OFFLINE'`: they go. */
  show(user: TestUser): void
  /** The link is lost, or comes back: what all stores say of themselves. They begin with `live`. */
  become(state: 'live' | 'stale' | 'loading'): void
  /** The rooms that components have joined. */
  readonly joinedRooms: ReadonlySet<string>
}

const LIVE: Freshness = { state: 'live', since: null, error: null }

export function createTestPresence({ me = { id: 'me' }, users = [] }: TestPresenceOptions = {}): TestPresence {
  const known = new Map<string, User>()
  const rooms = new Map<string, ReadonlySet<string>>()
  const joined = new Map<string, number>()
  const stores = new Set<ComputedStore<unknown>>()
  const cache = new Map<string, unknown>()
  let freshness: Freshness = LIVE
  let viewer: Omit<Viewer, 'user'> = {
    isOnline: true,
    status: 'ONLINE',
    statusChoice: 'AUTOMATIC',
    statusMessage: null,
    visibility: 'EVERYONE',
    hideLastActive: false,
    sessions: [],
  }

  function store<Snapshot>(key: string, compute: (previous: Snapshot | null) => Snapshot): ComputedStore<Snapshot> {
    const made = new ComputedStore<Snapshot>(compute, () => () => {})
    stores.add(made as ComputedStore<unknown>)
    cache.set(key, made)
    return made
  }

  function once<Made>(key: string, make: (key: string) => Made): Made {
    return (cache.get(key) as Made | undefined) ?? make(key)
  }

  function changed(): void {
    for (const one of stores) one.changed()
  }

  function put({ rooms: of, ...user }: TestUser): void {
    const before = known.get(user.id)
    const status = user.status ?? before?.status ?? 'ONLINE'
    known.set(user.id, {
      name: user.id,
      avatarUrl: null,
      statusMessage: null,
      onlineSince: null,
      lastActive: null,
      lastSeen: null,
      ...before,
      ...user,
      status,
      isOnline: status !== 'OFFLINE',
    })
    if (of) rooms.set(user.id, new Set(of))
  }

  function online(room: string | null): User[] {
    return [...known.values()]
      .filter(({ id, isOnline }) => isOnline && (room === null || rooms.get(id)?.has(room)))
      .sort((one, other) => (one.id < other.id ? -1 : 1))
  }

  function sameList<Item>(previous: readonly Item[] | undefined, next: readonly Item[]): readonly Item[] {
    const isSame = previous?.length === next.length && next.every((item, index) => item === previous[index])
    return isSame ? previous : next
  }

  /** What others see of the signed-in user follows from what they chose. */
  function choose(next: Partial<Omit<Viewer, 'user'>>): Viewer {
    viewer = { ...viewer, ...next }
    const status = viewer.statusChoice === 'AUTOMATIC' ? 'ONLINE' : viewer.statusChoice
    viewer = { ...viewer, status: viewer.isOnline ? status : 'OFFLINE' }
    const isShown = viewer.isOnline && viewer.visibility === 'EVERYONE'
    put({
      id: me.id,
      status: isShown ? viewer.status : 'OFFLINE',
      statusMessage: isShown ? viewer.statusMessage : null,
    })
    changed()
    return { ...viewer, user: known.get(me.id) as User }
  }

  for (const user of [me, ...users]) put(user)
  const link: LinkSnapshot = { state: 'open', retryInMs: null, retryAt: null, error: null }

  const presence: TestPresence = {
    sessionId: 'test',
    link: store<LinkSnapshot>('link', () => link),
    me: store<MeSnapshot>('me', (previous) => {
      const user = known.get(me.id) as User
      const next = { ...viewer, user }
      const isSame =
        previous?.viewer &&
        Object.keys(next).every((key) => Reflect.get(next, key) === Reflect.get(previous.viewer as Viewer, key))
      return keep(previous, { ...freshness, viewer: isSame ? previous.viewer : next })
    }),

    onlineUsers: ({ room = null } = {}) =>
      once(`online ${room}`, (key): OnlineUsersStore => {
        const ids = store<OnlineIdsSnapshot>(`${key} ids`, (previous) =>
          keep(previous, {
            ...freshness,
            ids: sameList(
              previous?.ids,
              online(room).map(({ id }) => id),
            ),
          }),
        )
        const users = store<OnlineUsersSnapshot>(key, (previous) =>
          keep(previous, {
            ...freshness,
            ids: ids.getSnapshot().ids,
            users: sameList(previous?.users, online(room)),
          }),
        )
        return Object.assign(users, { ids })
      }),

    user: (id) =>
      once(`user ${id}`, (key) =>
        store<UserSnapshot>(key, (previous) => keep(previous, { ...freshness, user: known.get(id) ?? null })),
      ),

    users: (ids) =>
      once(`users ${JSON.stringify(ids)}`, (key) =>
        store<UsersSnapshot>(key, (previous) =>
          keep(previous, {
            ...freshness,
            users: sameList(
              previous?.users,
              ids.map((id) => known.get(id) ?? null),
            ),
          }),
        ),
      ),

    count: ({ room = null } = {}) =>
      once(`count ${room}`, (key) =>
        store<CountSnapshot>(key, (previous) => keep(previous, { ...freshness, count: online(room).length })),
      ),

    joinRoom(room) {
      joined.set(room, (joined.get(room) ?? 0) + 1)
      rooms.set(me.id, new Set([...(rooms.get(me.id) ?? []), room]))
      changed()
      return () => {
        const count = (joined.get(room) ?? 0) - 1
        if (count > 0) joined.set(room, count)
        else {
          joined.delete(room)
          rooms.set(me.id, new Set([...(rooms.get(me.id) ?? [])].filter((one) => one !== room)))
        }
        changed()
      }
    },

    setStatus: async (statusChoice, message) =>
      choose({ statusChoice, ...(message === undefined ? {} : { statusMessage: message }) }),
    setVisibility: async (visibility, { hideLastActive = viewer.hideLastActive } = {}) =>
      choose({ visibility, hideLastActive }),
    goOffline: async () => void choose({ isOnline: false }),
    comeBack: async () => void choose({ isOnline: true }),
    signOut: async () => void choose({ isOnline: false }),
    noticeActivity() {},
    retryNow() {},
    connect: () => () => {},
    close() {},

    show(user) {
      put(user)
      changed()
    },

    become(state) {
      const since = new Date()
      if (state === 'live') freshness = LIVE
      else if (state === 'stale') freshness = { state, since, error: null }
      else freshness = { state, since: null, error: null }
      changed()
    },

    get joinedRooms() {
      return new Set(joined.keys())
    },
  }
  return presence
}
