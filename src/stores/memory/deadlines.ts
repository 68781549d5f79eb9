/**
 * What falls due when: a binary heap in which each item knows its place, so that a deadline moves in O(log n) and
 * the sweep costs as much as there are passed deadlines, never as much as there are users.
 */

/** An item of the heap. Only the heap writes these two. */
export interface Due {
  /** By the steady clock. */
  dueSteadyMs: number
  /** −1 while it is not in the heap. */
  heapIndex: number
}

export interface Deadlines<Item extends Due> {
  /** The item that is due first. */
  first(): Item | undefined
  /** Puts the item in, or moves it. */
  set(item: Item, dueSteadyMs: number): void
  remove(item: Item): void
}

export function createDeadlines<Item extends Due>(): Deadlines<Item> {
  const heap: Item[] = []

  function put(item: Item, index: number): void {
    heap[index] = item
    item.heapIndex = index
  }

  function rise(item: Item, from: number): void {
    let index = from
    while (index > 0) {
      const parentIndex = (index - 1) >> 1
      const parent = heap[parentIndex] as Item
      if (parent.dueSteadyMs <= item.dueSteadyMs) break
      put(parent, index)
      index = parentIndex
    }
    put(item, index)
  }

  function sink(item: Item, from: number): void {
    let index = from
    for (;;) {
      let childIndex = 2 * index + 1
      if (childIndex >= heap.length) break
      const right = heap[childIndex + 1]
      if (right !== undefined && right.dueSteadyMs < (heap[childIndex] as Item).dueSteadyMs) childIndex += 1
      const child = heap[childIndex] as Item
      if (item.dueSteadyMs <= child.dueSteadyMs) break
      put(child, index)
      index = childIndex
    }
    put(item, index)
  }

  return {
    first: () => heap[0],

    set(item, dueSteadyMs) {
      const wasSteadyMs = item.dueSteadyMs
      item.dueSteadyMs = dueSteadyMs
      if (item.heapIndex === -1) rise(item, heap.length)
      else if (dueSteadyMs < wasSteadyMs) rise(item, item.heapIndex)
      else sink(item, item.heapIndex)
    },

    remove(item) {
      const index = item.heapIndex
      if (index === -1) return
      item.heapIndex = -1
      const last = heap.pop() as Item
      if (last === item) return
      // The last one fills the hole, and may belong above it or below it.
      rise(last, index)
      sink(last, last.heapIndex)
    },
  }
}
