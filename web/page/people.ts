/** The list of people in the page: one row a user, made once and changed in place. */
import type { OnlineUser } from './operations.ts'
import { moment, statusWord } from './words.ts'

/** More rows than anybody reads, and few enough for a phone. */
const MAX_ROWS = 300

export interface People {
  show(users: ReadonlyMap<string, OnlineUser>, ownId: string | null): void
}

interface Row {
  readonly item: HTMLLIElement
  fill(user: OnlineUser, isOwn: boolean): void
}

/** @param note - says how many are not shown, or that nobody is there */
export function createPeople(list: HTMLUListElement, note: HTMLElement): People {
  const rows = new Map<string, Row>()
  const order = new Intl.Collator(undefined, { numeric: true, sensitivity: 'base' })

  return {
    show(users, ownId) {
      const sorted = [...users.values()].sort((a, b) => order.compare(a.name, b.name) || (a.id < b.id ? -1 : 1))
      const shown = sorted.slice(0, MAX_ROWS)
      const shownIds = new Set(shown.map(({ id }) => id))
      for (const [id, { item }] of rows) {
        if (shownIds.has(id)) continue
        item.remove()
        rows.delete(id)
      }
      for (const [index, user] of shown.entries()) {
        let row = rows.get(user.id)
        if (row === undefined) {
          row = createRow()
          rows.set(user.id, row)
        }
        row.fill(user, user.id === ownId)
        const there = list.children[index]
        if (there !== row.item) list.insertBefore(row.item, there ?? null)
      }
      const hiddenCount = sorted.length - shown.length
      note.hidden = hiddenCount === 0
      note.textContent = hiddenCount === 0 ? '' : `And ${hiddenCount.toLocaleString()} more.`
    },
  }
}

function createRow(): Row {
  const item = document.createElement('li')
  const mark = part('span', 'mark')
  mark.setAttribute('aria-hidden', 'true')
  const name = part('span', 'name')
  name.dir = 'auto'
  const you = part('span', 'you')
  const status = part('span', 'status')
  const message = part('span', 'message')
  message.dir = 'auto'
  const since = part('time', 'since')
  const who = part('p', 'who')
  who.append(name, you)
  const what = part('p', 'what')
  what.append(status, message)
  item.append(mark, who, what, since)

  return {
    item,
    fill(user, isOwn) {
      mark.dataset.status = user.status
      mark.textContent = initial(user.name)
      name.textContent = user.name
      you.textContent = isOwn ? 'you' : ''
      you.hidden = !isOwn
      status.textContent = statusWord(user.status)
      status.dataset.status = user.status
      message.textContent = user.statusMessage ?? ''
      since.hidden = user.onlineSince === null
      if (user.onlineSince !== null && since.dateTime !== user.onlineSince) {
        since.dateTime = user.onlineSince
        since.textContent = `since ${moment(user.onlineSince)}`
      }
    },
  }
}

function part<Tag extends keyof HTMLElementTagNameMap>(tag: Tag, className: string): HTMLElementTagNameMap[Tag] {
  const element = document.createElement(tag)
  element.className = className
  return element
}

export function initial(name: string): string {
  const [first = '?'] = name.trim()
  return first.toLocaleUpperCase()
}
