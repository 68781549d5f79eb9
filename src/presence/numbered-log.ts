/** A list of numbered items that grows at its end and is cut at its start: logs, and the part of one that is at hand. */

export interface NumberedLog<Item extends { readonly seq: number }> {
  /** The number of the newest item there ever was, 0 before the first. */
  lastSeq(): number
  /** Whether everything after `seq` is still there. */
  reaches(seq: number): boolean
  /** The number of the oldest item that is still there, or of the next one. */
  firstSeq(): number
  at(seq: number): Item | undefined
  size(): number
  push(item: Item): void
  /** Drops all up to this number. */
  dropThrough(seq: number): void
  after(seq: number, limit: number): Item[]
}

export function createNumberedLog<Item extends { readonly seq: number }>(): NumberedLog<Item> {
  let items: (Item | undefined)[] = []
  let head = 0
  let lastSeq = 0

  function firstSeq(): number {
    return lastSeq - (items.length - head) + 1
  }

  return {
    lastSeq: () => lastSeq,
    reaches: (seq) => seq <= lastSeq && seq >= firstSeq() - 1,
    firstSeq,
    at: (seq) => (seq < firstSeq() ? undefined : items[head + seq - firstSeq()]),
    size: () => items.length - head,

    push(item) {
      items.push(item)
      lastSeq = item.seq
    },

    dropThrough(seq) {
      const end = Math.min(head + seq - firstSeq() + 1, items.length)
      if (end <= head) return
      // Released at once; the array itself is moved seldom enough to cost nothing an item.
      for (; head < end; head += 1) items[head] = undefined
      if (head > 1024 && head > items.length / 2) {
        items = items.slice(head)
        head = 0
      }
    },

    after(seq, limit) {
      const start = head + Math.max(0, seq - firstSeq() + 1)
      return items.slice(start, start + limit) as Item[]
    },
  }
}
