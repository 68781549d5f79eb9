/** Who is online, everywhere or in a room. */
import type { Connection } from './connection.ts'
import { type Change, Feed } from './feed.ts'
import type { OnlineUsersQuery } from './generated.ts'
import type { Link } from './link.ts'
import { OnlineUsers } from './operations.ts'
import { sameUser } from './same.ts'
import type { Freshness, User } from './types.ts'

/** Answers of about 100 KB, which the server reads between other work. */
const PAGE_SIZE = 500

export interface OnlineListOptions {
  readonly link: Link
  readonly room: string | null
  /** Something of the list changed: this user, or, where it is null, all of it or its freshness. */
  readonly changed: (change: Change | null) => void
}

export class OnlineList {
  readonly #options: OnlineListOptions
  readonly #feed: Feed
  #users = new Map<string, User>()
  #ids: readonly string[] | null = null
  #all: readonly User[] | null = null

  constructor(options: OnlineListOptions) {
    this.#options = options
    this.#feed = new Feed({
      link: options.link,
      variables: options.room === null ? {} : { room: options.room },
      read: (connection) => this.#read(connection),
      apply: (change) => this.#apply(change),
      changed: () => options.changed(null),
    })
  }

  get freshness(): Freshness {
    return this.#feed.freshness
  }

  /** Ordered, and the same list until somebody comes or goes. */
  get ids(): readonly string[] {
    this.#ids ??= [...this.#users.keys()].sort()
    return this.#ids
  }

  /** In the order of `ids`, and the same list until something changes. */
  get users(): readonly User[] {
    this.#all ??= this.ids.map((id) => this.#users.get(id) as User)
    return this.#all
  }

  get(id: string): User | undefined {
    return this.#users.get(id)
  }

  start(): void {
    this.#feed.start()
  }

  stop(): void {
    this.#feed.stop()
  }

  async #read(connection: Connection): Promise<string> {
    const { room } = this.#options
    const users = new Map<string, User>()
    let first: OnlineUsersQuery | null = null
    let after: string | null = null
    do {
      const answer: OnlineUsersQuery = await connection.ask(OnlineUsers, { room, first: PAGE_SIZE, after })
      first ??= answer
      const page = answer.onlineUsers
      for (const user of page.nodes) {
        const known = this.#users.get(user.id)
        users.set(user.id, known && sameUser(known, user) ? known : user)
      }
      after = page.pageInfo.hasNextPage ? page.pageInfo.endCursor : null
    } while (after !== null)
    this.#users = users
    this.#ids = null
    this.#all = null
    this.#options.changed(null)
    return first.onlineUsers.position
  }

  #apply(change: Change): void {
    const { kind, user } = change
    const known = this.#users.get(user.id)
    if (kind === 'LEAVE' ? !known : known && sameUser(known, user)) return
    if (kind === 'LEAVE') this.#users.delete(user.id)
    else this.#users.set(user.id, user)
    this.#all = null
    if (kind === 'LEAVE' || !known) this.#ids = changedIds(this.#ids, user.id, kind === 'LEAVE')
    this.#options.changed(change)
  }
}

/** Inserts or removes one id: sorting all 10,000 at each JOIN and LEAVE takes longer. */
function changedIds(ids: readonly string[] | null, id: string, isLeaving: boolean): readonly string[] | null {
  if (ids === null) return null
  let low = 0
  let high = ids.length
  while (low < high) {
    const middle = (low + high) >> 1
    if ((ids[middle] as string) < id) low = middle + 1
    else high = middle
  }
  const next = ids.slice()
  if (isLeaving) next.splice(low, 1)
  else next.splice(low, 0, id)
  return next
}
