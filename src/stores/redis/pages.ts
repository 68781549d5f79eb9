/**
 * Pages of the list, read once for all of this node who ask in the same moment: a crowd that comes back asks for the same
 * ones. A page that is the same is the same object, so what was made of it serves again (src/execution/kept-texts.ts).
 */
import { LRUCache } from 'lru-cache'
import type { Page, PageRequest } from '../../presence/store.ts'
import { type List, listOf, type PublicAnswer, publicUser } from './answers.ts'

/** The answers of page.lua that are kept: some sixty pages of 1,000. */
const MAX_CHARACTERS = 8 * 1024 * 1024

type PageReply = readonly [
  users: List<PublicAnswer>,
  hasMore: boolean,
  totalCount: number,
  position: readonly [epoch: string, seq: number],
]

interface Known {
  readonly reply: string
  readonly page: Page
}

interface Reading {
  readonly now: Promise<Page>
  /** Begins when `now` is over: for those who ask while it is under way, which may not have what happened since. */
  next: Promise<Page> | null
}

/** @param read - asks Redis. @returns what page.lua returns */
export function createPages(read: (request: PageRequest) => Promise<string>): (request: PageRequest) => Promise<Page> {
  const known = new LRUCache<string, Known>({ maxSize: MAX_CHARACTERS, sizeCalculation: ({ reply }) => reply.length })
  const readings = new Map<string, Reading>()

  async function readNow(key: string, request: PageRequest): Promise<Page> {
    const reply = await read(request)
    const before = known.get(key)
    if (before?.reply === reply) return before.page
    const page = pageOf(JSON.parse(reply) as PageReply)
    known.set(key, { reply, page })
    return page
  }

  function begin(key: string, request: PageRequest): Promise<Page> {
    const reading: Reading = { now: readNow(key, request), next: null }
    readings.set(key, reading)
    const over = (): void => {
      // Where others wait, their reading has taken this one's place.
      if (readings.get(key) === reading) readings.delete(key)
    }
    reading.now.then(over, over)
    return reading.now
  }

  return function page(request) {
    const key = JSON.stringify([request.room, request.first, request.after])
    const reading = readings.get(key)
    if (reading === undefined) return begin(key, request)
    const beginNext = (): Promise<Page> => begin(key, request)
    reading.next ??= reading.now.then(beginNext, beginNext)
    return reading.next
  }
}

function pageOf([users, hasMore, totalCount, [epoch, seq]]: PageReply): Page {
  return { users: listOf(users).map(publicUser), hasMore, totalCount, position: { epoch, seq } }
}
