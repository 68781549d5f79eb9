import { describe, expect, it } from 'vitest'
import type { PageRequest } from '../../src/presence/store.ts'
import { createPages } from '../../src/stores/redis/pages.ts'

const EVERYONE: PageRequest = { room: null, first: 10, after: null }

function replyOf(seq: number, name = 'Alice'): string {
  const alice = ['alice', name, false, true, 'ONLINE', false, 1, 1]
  return JSON.stringify([[alice], false, 1, ['0123456789abcdef', seq]])
}

/** Pages whose reads the test answers, one after the other. */
function asking() {
  const reads: { readonly request: PageRequest; answer(reply: string): void; fail(error: Error): void }[] = []
  const page = createPages((request) => new Promise((answer, fail) => void reads.push({ request, answer, fail })))
  return { page, reads }
}

async function settled(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve))
}

describe('a page of the Redis store', () => {
  it('is read once more for all who ask while it is read: what they know may be newer than that', async () => {
    const { page, reads } = asking()
    const [first, second, third] = [page(EVERYONE), page({ ...EVERYONE }), page({ ...EVERYONE })]
    expect(reads).toHaveLength(1)
    reads[0]?.answer(replyOf(1))
    expect((await first).position.seq).toBe(1)
    await settled()
    expect(reads).toHaveLength(2)
    const fourth = page(EVERYONE)
    expect(reads).toHaveLength(2)
    reads[1]?.answer(replyOf(2))
    expect([await second, await third].map(({ position }) => position.seq)).toEqual([2, 2])
    await settled()
    reads[2]?.answer(replyOf(3))
    expect((await fourth).position.seq).toBe(3)
    expect(reads).toHaveLength(3)
  })

  it('is read by itself where it is another one', async () => {
    const { page, reads } = asking()
    const pages = [page(EVERYONE), page({ ...EVERYONE, room: 'hall' }), page({ ...EVERYONE, after: 'a' })]
    expect(reads.map(({ request }) => [request.room, request.after])).toEqual([
      [null, null],
      ['hall', null],
      [null, 'a'],
    ])
    for (const { answer } of reads) answer(replyOf(1))
    expect(new Set(await Promise.all(pages)).size).toBe(3)
  })

  it('is the same object as before where it is the same', async () => {
    const { page, reads } = asking()
    const seen = []
    for (const reply of [replyOf(1), replyOf(1), replyOf(1, 'Ada')]) {
      const asked = page(EVERYONE)
      reads.at(-1)?.answer(reply)
      seen.push(await asked)
      await settled()
    }
    expect(seen[1]).toBe(seen[0])
    expect(seen[2]?.users[0]?.name).toBe('Ada')
  })

  it('fails for those alone whose read failed', async () => {
    const { page, reads } = asking()
    const [first, second] = [page(EVERYONE), page(EVERYONE)]
    reads[0]?.fail(new Error('Redis is away.'))
    await expect(first).rejects.toThrow('away')
    await settled()
    reads[1]?.answer(replyOf(1))
    expect((await second).users).toHaveLength(1)
    await settled()
    const third = page(EVERYONE)
    reads[2]?.answer(replyOf(2))
    expect((await third).position.seq).toBe(2)
  })
})
