/**
 * A binary heap of deadlines. Each item stores its index, so a deadline moves in O(log n), and the cost of a sweep
 * grows with the number of passed deadlines, not with the number of users (rule 10).
 */

/** An item of the heap. Only the heap writes these two fields. */
export interface Due {
  /** On the steady clock. */
  dueSteadyMs: number
  /** −1 while the item is not in the heap. */
  heapIndex: number
}

export interface Deadlines<Item extends Due> {
  /** Returns the item with the earliest deadline; undefined if the heap is empty. */
  first(): Item | undefined
  /** Adds the item, or moves it to its new deadline. */
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
      // The last item fills the hole. It may belong above or below it.
      rise(last, index)
      sink(last, last.heapIndex)
    },
  }
}
