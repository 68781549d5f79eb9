/** Each user as what is followed shows them: a list that they are in, or else the watch list. */
import { RollcallError } from './errors.ts'
import type { Change } from './feed.ts'
import type { Link } from './link.ts'
import { OnlineList } from './online-list.ts'
import { keep } from './same.ts'
import { ComputedStore, StoreCache } from './store.ts'
import type {
  Freshness,
  OnlineIdsSnapshot,
  OnlineUsersSnapshot,
  OnlineUsersStore,
  Store,
  User,
  UserSnapshot,
  UsersSnapshot,
} from './types.ts'
import { WatchList } from './watch-list.ts'

/** The server's bound for an id, in bytes of UTF-8. */
const MAX_ID_BYTES = 128

interface Followed {
  readonly room: string | null
  readonly list: OnlineList
  readonly users: ComputedStore<OnlineUsersSnapshot>
  readonly ids: ComputedStore<OnlineIdsSnapshot>
}

/** A user who left a list that is followed, as others see them since. */
type LeaveListener = (user: User, room: string | null) => void

export class UserDirectory {
  readonly #link: Link
  readonly #watchList: WatchList
  readonly #followed = new Set<Followed>()
  readonly #leaveListeners = new Set<LeaveListener>()
  readonly #listStores = new Map<string | null, OnlineUsersStore>()
  readonly #userStores = new StoreCache<UserSnapshot>()
  readonly #usersStores = new StoreCache<UsersSnapshot>()
  readonly #idsOf = new WeakMap<Store<UsersSnapshot>, ReadonlySet<string>>()

  constructor(link: Link) {
    this.#link = link
    this.#watchList = new WatchList({
      link,
      isShown: (id) => this.#listWith(id) !== null,
      changed: (ids) => this.#changed(ids),
    })
  }

  onlineUsers(room: string | null): OnlineUsersStore {
    const known = this.#listStores.get(room)
    if (known) return known
    const store = this.#listStore(room)
    this.#listStores.set(room, store)
    return store
  }

  user(id: string): Store<UserSnapshot> {
    return this.#userStores.get(
      id,
      (start) =>
        new ComputedStore(
          (previous) => keep(previous, { ...this.#freshnessOf(id), user: this.#get(id) }),
          () => start(() => (isValidId(id) ? this.#watchList.want(id) : () => {})),
        ),
    )
  }

  users(ids: readonly string[]): Store<UsersSnapshot> {
    const own = [...ids]
    return this.#usersStores.get(JSON.stringify(own), (start) => {
      const store = new ComputedStore<UsersSnapshot>(
        (previous) => {
          const users = own.map((id) => this.#get(id))
          const isSame = previous?.users.every((user, index) => user === users[index])
          const freshness = worst(own.map((id) => this.#freshnessOf(id)))
          return keep(previous, { ...freshness, users: previous && isSame ? previous.users : users })
        },
        () =>
          start(() => {
            const stops = own.filter(isValidId).map((id) => this.#watchList.want(id))
            return () => {
              for (const stop of stops) stop()
            }
          }),
      )
      this.#idsOf.set(store, new Set(own))
      return store
    })
  }

  /** @param listener - called before the list's own store. @returns a function that ends it */
  onLeave(listener: LeaveListener): () => void {
    this.#leaveListeners.add(listener)
    return () => this.#leaveListeners.delete(listener)
  }

  #listStore(room: string | null): OnlineUsersStore {
    let followed: Followed | null = null
    let readers = 0
    const begin = (): (() => void) => {
      readers += 1
      if (followed === null) {
        const list = new OnlineList({ link: this.#link, room, changed: (change) => this.#listChanged(own, change) })
        const own: Followed = { room, list, users, ids }
        followed = own
        this.#followed.add(own)
        list.start()
      }
      const { list } = followed
      return () => {
        readers -= 1
        if (readers > 0 || followed === null) return
        this.#followed.delete(followed)
        this.#listStores.delete(room)
        followed = null
        list.stop()
        // Those that it showed may have to be watched now.
        this.#watchList.review()
      }
    }
    const users = new ComputedStore<OnlineUsersSnapshot>(
      (previous) =>
        followed
          ? keep(previous, { ...followed.list.freshness, ids: followed.list.ids, users: followed.list.users })
          : NO_USERS,
      begin,
    )
    const ids = new ComputedStore<OnlineIdsSnapshot>(
      (previous) => (followed ? keep(previous, { ...followed.list.freshness, ids: followed.list.ids }) : NO_USERS),
      begin,
    )
    return Object.assign(users, { ids })
  }

  #listChanged({ room, users, ids }: Followed, change: Change | null): void {
    if (change?.kind === 'LEAVE') for (const listener of this.#leaveListeners) listener(change.user, room)
    users.changed()
    ids.changed()
    if (change?.kind === 'LEAVE') this.#watchList.remember(change.user)
    if (change) {
      this.#changed([change.user.id])
      return
    }
    this.#watchList.review()
    // Any user may have been in the list before, or be in it now.
    this.#userStores.someChanged()
    this.#usersStores.someChanged()
  }

  #changed(ids: readonly string[]): void {
    for (const id of ids) this.#userStores.changed(id)
    this.#usersStores.someChanged((store) => ids.some((id) => this.#idsOf.get(store)?.has(id)))
  }

  /** The freshest of the lists that show the user. */
  #listWith(id: string): OnlineList | null {
    let found: OnlineList | null = null
    for (const { list } of this.#followed) {
      if (!list.get(id) || list.freshness.state === 'failed') continue
      if (list.freshness.state === 'live') return list
      found ??= list
    }
    return found
  }

  #get(id: string): User | null {
    return this.#listWith(id)?.get(id) ?? this.#watchList.get(id) ?? null
  }

  #freshnessOf(id: string): Freshness {
    if (!isValidId(id)) return { state: 'failed', since: null, error: INVALID_ID }
    return this.#listWith(id)?.freshness ?? this.#watchList.freshnessOf(id)
  }
}

const NO_USERS: OnlineUsersSnapshot = { state: 'loading', since: null, error: null, ids: [], users: [] }
const INVALID_ID = new RollcallError('BAD_USER_INPUT', `A user id must be 1 to ${MAX_ID_BYTES} bytes.`)

function isValidId(id: string): boolean {
  return id !== '' && new TextEncoder().encode(id).length <= MAX_ID_BYTES
}

/** A table is as fresh as its worst row. */
function worst(all: readonly Freshness[]): Freshness {
  const order = ['failed', 'loading', 'stale', 'live']
  return all.reduce<Freshness>((one, other) => {
    if (one.state === 'stale' && other.state === 'stale') return other.since < one.since ? other : one
    return order.indexOf(other.state) < order.indexOf(one.state) ? other : one
  }, NOTHING_ASKED)
}

/** An empty list is right whatever happens. */
const NOTHING_ASKED: Freshness = { state: 'live', since: null, error: null }
