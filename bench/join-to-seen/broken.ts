/**
 * Rollcall's driver with faults in it, to see the checks fail: `--driver bench/join-to-seen/broken.ts`.
 *
 * In each process, the first subscriber of everyone loses one piece of news, gets one twice, one of a stranger, two in
 * the wrong order, and one user's coming after their going. That is 1 missing, 1 doubled, 1 not asked for and 2 out of
 * order, 1 of them within a user's own.
 */
import { driver as rollcall } from './rollcall.ts'
import type { Driver, News } from './system.ts'

const LOST = 10
const DOUBLED = 20
const STRANGE = 30
const SWAPPED = 40
/** From here on the next JOIN is held back until the same user's LEAVE is there. */
const HELD_BACK = 50

let isSpoilt = false

export const driver: Driver = {
  start: rollcall.start,

  createClient(address) {
    const client = rollcall.createClient(address)
    return {
      connect(person) {
        const connection = client.connect(person)
        return {
          ...connection,
          follow(audience, onNews) {
            if (audience !== 'everyone' || isSpoilt) return connection.follow(audience, onNews)
            isSpoilt = true
            return connection.follow(audience, spoilt(onNews))
          },
        }
      },
    }
  },
}

function spoilt(onNews: (news: News) => void): (news: News) => void {
  let count = 0
  let swapped: News | null = null
  let heldBack: News | null = null
  return (news) => {
    count += 1
    if (count === LOST) return
    if (count === DOUBLED) onNews(news)
    if (count === STRANGE) onNews({ ...news, userId: 'a stranger' })
    if (count === SWAPPED) {
      swapped = news
      return
    }
    if (count >= HELD_BACK && heldBack === null && news.kind === 'JOIN') {
      heldBack = news
      return
    }
    onNews(news)
    if (count === SWAPPED + 1 && swapped !== null) onNews(swapped)
    if (news.kind === 'LEAVE' && news.userId === heldBack?.userId) onNews(heldBack)
  }
}
