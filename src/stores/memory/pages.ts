/**
 * Pages of the list, read once for all who ask in the same moment. A page that holds the same is the same object, so
 * what was made of it serves again (src/execution/kept-texts.ts).
 */
import { LRUCache } from 'lru-cache'
import type { PublicUser } from '../../presence/model.ts'
import type { Page, PageRequest } from '../../presence/store.ts'
import { type LiveUser, shownNow } from './live-user.ts'

/** A crowd that comes back reads from the first page on, so it is about as many pages at once. */
const MAX_PAGES = 64

export interface PageSource {
  /** Counts the changes of anybody: members and positions are those of the last one. */
  changeCount(): number
  /** Counts activity, which changes nothing but `lastActive`. */
  activityCount(): number
  /** Members in order, starting with the first one after the id `after`. */
  from(room: string | null, after: string | null): Iterable<LiveUser>
  /** A page of these users. */
  page(room: string | null, users: readonly PublicUser[], hasMore: boolean): Page
}

interface ReadPage {
  readonly members: readonly LiveUser[]
  readonly hasMore: boolean
  activityCount: number
  page: Page
}

export function createPages(source: PageSource): (request: PageRequest) => Page {
  /** All of them read since the last change. */
  const pages = new LRUCache<string, ReadPage>({ max: MAX_PAGES })
  let changeCount = source.changeCount()

  function read({ room, first, after }: PageRequest): ReadPage {
    const members: LiveUser[] = []
    let hasMore = false
    for (const user of source.from(room, after)) {
      hasMore = members.length === first
      if (hasMore) break
      members.push(user)
    }
    return {
      members,
      hasMore,
      activityCount: source.activityCount(),
      page: source.page(room, members.map(shownNow), hasMore),
    }
  }

  return function page(request) {
    if (changeCount !== source.changeCount()) {
      changeCount = source.changeCount()
      pages.clear()
    }
    const key = JSON.stringify([request.room, request.first, request.after])
    let known = pages.get(key)
    if (known === undefined) {
      known = read(request)
      pages.set(key, known)
    } else if (known.activityCount !== source.activityCount()) {
      known.activityCount = source.activityCount()
      const { members, hasMore, page } = known
      const users = members.map(shownNow)
      if (users.some((user, index) => user !== page.users[index])) {
        known.page = source.page(request.room, users, hasMore)
      }
    }
    return known.page
  }
}
