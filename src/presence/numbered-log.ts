/** A list of numbered items that grows at its end and is cut at its start: a log, or the part of one kept in memory. */

export interface NumberedLog<Item extends { readonly seq: number }> {
  /** The number of the newest item ever added, 0 before the first. */
  lastSeq(): number
  /** Whether everything after `seq` is still there. */
  reaches(seq: number): boolean
  /** The number of the oldest item that is still there, or of the next one. */
  firstSeq(): number
  at(seq: number): Item | undefined
  size(): number
  push(item: Item): void
  /** Drops all items up to and including this number. */
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
      // Items are released at once. The array itself is copied so rarely that it costs next to nothing per item.
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
