/**
 * The users that are watched by their ids, in all parts of a page together.
 *
 * Ids come and go without a subscription each: they lie in buckets, and a bucket is a subscription. New ids go into a
 * small bucket, so that one id more sends a few ids again and not all. Small buckets become larger ones, so that they
 * stay few. A bucket is never changed: another one takes its place, and is in charge when the server's word covers it.
 */
import type { Connection } from './connection.ts'
import { Feed } from './feed.ts'
import type { Follower, Link } from './link.ts'
import { Users } from './operations.ts'
import { sameUser } from './same.ts'
import { LOADING } from './trust.ts'
import type { Freshness, User } from './types.ts'

/** Bounds of the server for one watch list: 1,000 ids, in a message of at most 64 KiB. 1,000 UUIDs are 39 KB. */
const MAX_IDS = 1000
const MAX_BYTES = 48_000
/** 16 UUIDs are 0.6 KB: with the request for the new ids one id more stays below 2 KB. */
const SMALL = 16
/** Buckets of one size that become one. A bucket belongs to the size of the most that it held. */
const MERGED = 8
/** What is mounted in one go is asked for in one go. */
const GATHER_MS = 10

interface Bucket {
  readonly ids: readonly string[]
  readonly feed: Feed
  /** Those whose place it takes. Until then they are in charge of their ids. */
  former: readonly Bucket[]
  /** The one that takes its place. */
  successor: Bucket | null
}

interface Known {
  readonly user: User | null
  readonly at: Date
}

export interface WatchListOptions {
  readonly link: Link
  /** Whether a list that is followed shows the user, so that nobody has to watch them. */
  readonly isShown: (id: string) => boolean
  /** What is known of these users changed, or how much it can be trusted. */
  readonly changed: (ids: readonly string[]) => void
}

export class WatchList implements Follower {
  readonly #options: WatchListOptions
  /** How often each id is wanted. */
  readonly #wanted = new Map<string, number>()
  readonly #known = new Map<string, Known>()
  /** The one in charge of the id, or the first that will be. */
  readonly #bucketOf = new Map<string, Bucket>()
  /** In the order in which they were made. */
  readonly #buckets = new Set<Bucket>()
  #gathering: ReturnType<typeof setTimeout> | undefined

  constructor(options: WatchListOptions) {
    this.#options = options
    options.link.follow(this)
  }

  /** @returns a function that ends it */
  want(id: string): () => void {
    this.#wanted.set(id, (this.#wanted.get(id) ?? 0) + 1)
    this.review()
    return () => {
      const count = (this.#wanted.get(id) ?? 0) - 1
      if (count > 0) this.#wanted.set(id, count)
      else {
        this.#wanted.delete(id)
        if (!this.#bucketOf.has(id)) this.#known.delete(id)
      }
      this.review()
    }
  }

  /** Undefined while nothing is known. */
  get(id: string): User | null | undefined {
    return this.#known.get(id)?.user
  }

  freshnessOf(id: string): Freshness {
    const known = this.#known.get(id)
    const freshness = this.#bucketOf.get(id)?.feed.freshness ?? LOADING
    // What a list showed a moment ago, or another connection.
    return freshness === LOADING && known ? { state: 'stale', since: known.at, error: null } : freshness
  }

  /** What was last seen of a user whom no list shows any more. */
  remember(user: User): void {
    if (!this.#wanted.has(user.id)) return
    if (!this.#bucketOf.has(user.id)) this.#know(user.id, user)
    this.review()
  }

  /** What is wanted, or shown by lists, changed. */
  review(): void {
    this.#gathering ??= setTimeout(() => {
      this.#gathering = undefined
      if (this.#options.link.connection) this.#gather()
    }, GATHER_MS)
  }

  opened(): void {
    this.review()
  }

  ended(): void {
    // One that was not in charge yet relied on others for a part of its ids, and they have ended.
    for (const bucket of [...this.#buckets]) if (bucket.former.length > 0) this.#drop([bucket, ...bucket.former])
  }

  doubted(): void {}

  word(): void {}

  #gather(): void {
    this.#drop([...this.#buckets].filter((bucket) => isSettled(bucket) && this.#stillWanted([bucket]).length === 0))
    const missing = [...this.#wanted.keys()].filter((id) => !this.#bucketOf.has(id) && !this.#options.isShown(id))
    const last = [...this.#buckets].at(-1)
    if (missing.length > 0 && last && missing.length + last.ids.length <= SMALL && isInCharge(last)) {
      this.#open([...this.#stillWanted([last]), ...missing], missing, [last])
    } else for (const ids of chunks(missing)) this.#open(ids, ids, [])
    this.#merge(0, SMALL)
    this.#merge(SMALL, SMALL * MERGED)
  }

  /** Makes one bucket of those that hold more than `over` and at most `upTo` ids, where there are many. */
  #merge(over: number, upTo: number): void {
    const alike = [...this.#buckets].filter(
      (bucket) => bucket.ids.length > over && bucket.ids.length <= upTo && isInCharge(bucket),
    )
    const former = alike.slice(0, MERGED - 1)
    const [ids = [], ...rest] = chunks(this.#stillWanted(former))
    if (alike.length >= MERGED && rest.length === 0) this.#open(ids, [], former)
  }

  #stillWanted(buckets: readonly Bucket[]): string[] {
    return buckets.flatMap(({ ids }) => ids).filter((id) => this.#wanted.has(id))
  }

  /**
   * @param unread - those of whom nothing is known. The others are followed from the last word on, which covers the
   *   buckets that they lie in
   */
  #open(ids: readonly string[], unread: readonly string[], former: readonly Bucket[]): void {
    const { link } = this.#options
    const feed = new Feed(
      {
        link,
        variables: { userIds: ids },
        read: (connection) => this.#read(connection, former.length > 0 && unread.length > 0 ? unread : ids),
        apply: ({ user }) => {
          if (this.#bucketOf.get(user.id) !== bucket) return
          this.#know(user.id, user)
          this.#options.changed([user.id])
        },
        changed: () => this.#freshnessChanged(bucket),
      },
      unread.length > 0 ? null : link.position,
    )
    const bucket: Bucket = { ids, feed, former, successor: null }
    this.#buckets.add(bucket)
    for (const one of former) one.successor = bucket
    for (const id of unread) this.#bucketOf.set(id, bucket)
    feed.start()
  }

  async #read(connection: Connection, ids: readonly string[]): Promise<string> {
    const { position, users } = await connection.ask(Users, { ids: [...ids] })
    for (const [index, id] of ids.entries()) this.#know(id, users[index] ?? null)
    this.#options.changed(ids)
    return position
  }

  #know(id: string, user: User | null): void {
    const known = this.#known.get(id)?.user
    this.#known.set(id, { user: known && user && sameUser(known, user) ? known : user, at: new Date() })
  }

  #freshnessChanged(bucket: Bucket): void {
    if (!this.#buckets.has(bucket)) return
    const { former, ids } = bucket
    if (former.length > 0 && bucket.feed.freshness.state === 'live') {
      for (const id of ids) this.#bucketOf.set(id, bucket)
      bucket.former = []
      this.#drop(former)
      this.review()
    }
    this.#options.changed(ids)
  }

  #drop(buckets: readonly Bucket[]): void {
    for (const bucket of buckets) {
      this.#buckets.delete(bucket)
      bucket.feed.stop()
      for (const one of bucket.former) one.successor = null
      for (const id of bucket.ids) {
        if (this.#bucketOf.get(id) === bucket) this.#bucketOf.delete(id)
        if (!this.#bucketOf.has(id) && !this.#wanted.has(id)) this.#known.delete(id)
      }
    }
  }
}

/** It neither takes the place of others nor makes place for one. */
function isSettled({ former, successor }: Bucket): boolean {
  return former.length === 0 && successor === null
}

function isInCharge(bucket: Bucket): boolean {
  return isSettled(bucket) && bucket.feed.freshness.state === 'live'
}

/** Parts that fit into one watch list. */
function chunks(ids: readonly string[]): string[][] {
  const parts: string[][] = []
  const encoder = new TextEncoder()
  let part: string[] = []
  let bytes = MAX_BYTES
  for (const id of ids) {
    // With the comma behind it.
    const size = encoder.encode(JSON.stringify(id)).length + 1
    bytes += size
    if (bytes > MAX_BYTES || part.length >= MAX_IDS) {
      part = []
      parts.push(part)
      bytes = size
    }
    part.push(id)
  }
  return parts
}
