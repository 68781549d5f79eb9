/**
 * A set of rooms that never changes. A changed copy shares all but a few nodes with its original, so a log can name
 * the rooms of a user before and after each of a thousand steps, whatever number of rooms that is.
 */
import sortedBTree from 'sorted-btree'

// A CommonJS package: its class is the `default` of what Node imports as the default.
const { default: BTree } = sortedBTree
type Tree = InstanceType<typeof BTree<string, undefined>>

/** Most users are in a few rooms. A list of one takes a fifth of the memory of a tree. */
const MAX_LIST = 16
/** A smaller node costs less to copy and makes the tree higher: with 5,000 rooms a changed copy has four new nodes. */
const NODE_SIZE = 16

export interface RoomChanges {
  readonly added: Iterable<string>
  readonly removed: Iterable<string>
}

/** A class: there is one for each user and each entry, and they share their methods. */
export class RoomSet implements Iterable<string> {
  static readonly empty = new RoomSet([])

  static of(rooms: Iterable<string>): RoomSet {
    return RoomSet.empty.changed({ added: rooms, removed: [] })
  }

  readonly #rooms: readonly string[] | Tree

  private constructor(rooms: readonly string[] | Tree) {
    this.#rooms = rooms
  }

  get size(): number {
    return isList(this.#rooms) ? this.#rooms.length : this.#rooms.size
  }

  has(room: string): boolean {
    return isList(this.#rooms) ? this.#rooms.includes(room) : this.#rooms.has(room)
  }

  [Symbol.iterator](): Iterator<string> {
    return isList(this.#rooms) ? this.#rooms[Symbol.iterator]() : this.#rooms.keys()
  }

  /**
   * Costs what changes. What both name is removed.
   *
   * @returns this set itself where nothing changes
   */
  changed({ added, removed }: RoomChanges): RoomSet {
    let draft: Set<string> | Tree | null = null
    for (const room of added) {
      if (draft === null ? this.has(room) : draft.has(room)) continue
      draft ??= this.#draft()
      if (draft instanceof Set) draft.add(room)
      else draft.set(room, undefined)
      if (draft instanceof Set && draft.size > MAX_LIST) draft = treeOf(draft)
    }
    for (const room of removed) {
      if (!(draft === null ? this.has(room) : draft.has(room))) continue
      draft ??= this.#draft()
      draft.delete(room)
    }
    if (draft === null) return this
    if (draft.size === 0) return RoomSet.empty
    if (draft instanceof Set) return new RoomSet([...draft])
    return new RoomSet(draft.size > MAX_LIST ? draft : [...draft.keys()])
  }

  #draft(): Set<string> | Tree {
    return isList(this.#rooms) ? new Set(this.#rooms) : this.#rooms.clone()
  }
}

function isList(rooms: readonly string[] | Tree): rooms is readonly string[] {
  return Array.isArray(rooms)
}

function treeOf(rooms: Iterable<string>): Tree {
  const tree: Tree = new BTree<string, undefined>(undefined, compareRooms, NODE_SIZE)
  for (const room of rooms) tree.set(room, undefined)
  return tree
}

function compareRooms(one: string, other: string): number {
  return one < other ? -1 : one > other ? 1 : 0
}
