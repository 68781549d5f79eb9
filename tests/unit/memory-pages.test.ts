import { describe, expect, it } from 'vitest'
import type { PublicUser } from '../../src/presence/model.ts'
import type { PageRequest } from '../../src/presence/store.ts'
import type { LiveUser } from '../../src/stores/memory/live-user.ts'
import { createPages } from '../../src/stores/memory/pages.ts'

const EVERYONE: PageRequest = { room: null, first: 10, after: null }

/** A list of users whose `shown` the test changes, and how often it was read. */
function listOf(...ids: readonly string[]) {
  const users = ids.map((id) => ({ id, hasActivitySince: false, shown: { id } as PublicUser })) as LiveUser[]
  const counts = { changes: 0, activities: 0, reads: 0 }
  const page = createPages({
    changeCount: () => counts.changes,
    activityCount: () => counts.activities,
    *from(_room, after) {
      counts.reads += 1
      for (const user of users) if (after === null || user.id > after) yield user
    },
    page: (_room, shown, hasMore) => ({
      users: shown,
      hasMore,
      totalCount: users.length,
      position: { epoch: '0123456789abcdef', seq: counts.changes },
    }),
  })
  function change(id: string): void {
    const user = users.find((one) => one.id === id) as LiveUser
    user.shown = { ...user.shown }
  }
  return {
    page,
    counts,
    change(id: string): void {
      change(id)
      counts.changes += 1
    },
    beat(id: string): void {
      change(id)
      counts.activities += 1
    },
  }
}

describe('a page of the memory store', () => {
  it('is one object for all who ask while nothing changes', () => {
    const { page, counts } = listOf('a', 'b')
    expect(page({ ...EVERYONE })).toBe(page({ ...EVERYONE }))
    expect(counts.reads).toBe(1)
  })

  it('is read again after a change of anybody', () => {
    const { page, change, counts } = listOf('a', 'b')
    const before = page(EVERYONE)
    change('b')
    const after = page(EVERYONE)
    expect(after).not.toBe(before)
    expect(after.position.seq).toBe(1)
    expect(counts.reads).toBe(2)
  })

  it('is another object after activity of somebody on it, and the same after that of others', () => {
    const { page, beat, counts } = listOf('a', 'b', 'c')
    const first = { ...EVERYONE, first: 2 }
    const before = page(first)
    beat('c')
    expect(page(first)).toBe(before)
    beat('b')
    const after = page(first)
    expect(after.users[0]).toBe(before.users[0])
    expect(after.users[1]).not.toBe(before.users[1])
    expect(page(first)).toBe(after)
    expect(counts.reads).toBe(1)
  })

  it('is another one for another room, length or place', () => {
    const { page, counts } = listOf('a', 'b', 'c')
    const pages = [
      page(EVERYONE),
      page({ ...EVERYONE, room: 'hall' }),
      page({ ...EVERYONE, first: 2 }),
      page({ ...EVERYONE, after: 'a' }),
    ]
    expect(new Set(pages).size).toBe(4)
    expect(pages.map(({ users, hasMore }) => [users.length, hasMore])).toEqual([
      [3, false],
      [3, false],
      [2, true],
      [2, false],
    ])
    expect(counts.reads).toBe(4)
  })
})
