/** What became of a list of users between two looks at it. */

/** What is told of a user's changes. */
export interface Shown {
  readonly id: string
  readonly name: string
  readonly status: string
  readonly statusMessage: string | null
}

export interface SeenChange<User extends Shown> {
  readonly kind: 'came' | 'went' | 'changed'
  readonly user: User
  /** As the list showed them before; null where it did not. */
  readonly previous: User | null
}

/** Both lists are ordered by id, as the kit's are. A user of whom nothing changed is the same object in both. */
export function changesBetween<User extends Shown>(
  before: readonly User[],
  after: readonly User[],
): SeenChange<User>[] {
  const changes: SeenChange<User>[] = []
  let [beforeIndex, afterIndex] = [0, 0]
  while (beforeIndex < before.length || afterIndex < after.length) {
    const previous = before[beforeIndex]
    const user = after[afterIndex]
    if (previous && (!user || previous.id < user.id)) {
      changes.push({ kind: 'went', user: previous, previous })
      beforeIndex += 1
    } else if (user && (!previous || user.id < previous.id)) {
      changes.push({ kind: 'came', user, previous: null })
      afterIndex += 1
    } else if (user && previous) {
      if (user !== previous && isShownOtherwise(previous, user)) changes.push({ kind: 'changed', user, previous })
      beforeIndex += 1
      afterIndex += 1
    }
  }
  return changes
}

function isShownOtherwise(one: Shown, other: Shown): boolean {
  return one.name !== other.name || one.status !== other.status || one.statusMessage !== other.statusMessage
}
