/**
 * An immutable set of rooms. A changed copy shares all but a few tree nodes with its original, so a log can name the
 * rooms of a user before and after each of a thousand steps, however many rooms there are.
 */
import sortedBTree from 'sorted-btree'

// A CommonJS package: its class is the `default` property of Node's default import.
const { default: BTree } = sortedBTree
type Tree = InstanceType<typeof BTree<string, undefined>>

/** Most users are in a few rooms. A list of one room takes a fifth of the memory of a tree. */
const MAX_LIST = 16
/** A smaller node is cheaper to copy but makes the tree higher: with 5,000 rooms a changed copy has four new nodes. */
const NODE_SIZE = 16

export interface RoomChanges {
  readonly added: Iterable<string>
  readonly removed: Iterable<string>
}

/** A class, because there is one set for each user and each entry, and all sets share their methods. */
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
   * The cost grows with the number of changes. A room in both `added` and `removed` is removed.
   *
   * @returns this set itself if nothing changes
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
