/** What the page says, in plain words. */
import type { Freshness, LinkSnapshot, PresenceStatus, User, Viewer } from '@rollcall/client'
import type { SeenChange } from './changes.ts'

const STATUS_WORDS: Readonly<Record<PresenceStatus, string>> = {
  ONLINE: 'Online',
  AWAY: 'Away',
  BUSY: 'Busy',
  OFFLINE: 'Offline',
}

export function statusWord(status: PresenceStatus): string {
  return STATUS_WORDS[status]
}

/** A time of today as a clock shows it; another day's with its date. */
export function moment(iso: string, now: Date = new Date()): string {
  const date = new Date(iso)
  const isToday = date.toDateString() === now.toDateString()
  return date.toLocaleString(undefined, isToday ? { timeStyle: 'short' } : { dateStyle: 'medium', timeStyle: 'short' })
}

export function freshnessWords({ state, since, error }: Freshness): string {
  if (state === 'loading') return 'Loading…'
  if (state === 'live') return 'Live'
  if (state === 'stale') return `Stale since ${since.toLocaleTimeString()}`
  return `Refused: ${error.message}`
}

const LINK_WORDS: Readonly<Record<LinkSnapshot['state'], string>> = {
  idle: 'Not connected',
  connecting: 'Connecting…',
  open: 'Connected',
  waiting: 'No connection',
  failed: 'Refused',
}

export function linkWords({ state }: LinkSnapshot): string {
  return LINK_WORDS[state]
}

export interface OwnState {
  readonly viewer: Viewer | null
  /** Whether `viewer` was right once, and may not be so now. */
  readonly isStale: boolean
  readonly link: LinkSnapshot
  /** The person went offline in this tab. */
  readonly hasLeft: boolean
  /** The server is being told that the person is there, or will be once they look at the tab. */
  readonly isComing: boolean
}

export function ownStateWords({ viewer, isStale, link, hasLeft, isComing }: OwnState): string {
  if (link.state === 'failed') return `The server refused you: ${link.error.message}`
  // An attempt to connect is no connection: without one nobody knows what others see.
  if (link.state === 'waiting' || (isStale && link.state !== 'open')) return 'No connection.'
  if (isStale) return 'Waiting for the server…'
  if (viewer === null) return 'Connecting…'
  const others = viewer.sessions.filter(({ isCurrent }) => !isCurrent).length
  if (hasLeft) {
    if (!viewer.isOnline) return 'You are offline: you left.'
    return `This tab left. You are still online ${others === 1 ? 'in another tab or device' : `in ${others} other tabs or devices`}.`
  }
  if (viewer.visibility === 'NOBODY') return 'You are hidden: to everyone else you look offline.'
  if (!viewer.isOnline && isComing) return 'Coming online…'
  if (!viewer.isOnline) return 'You are offline: nothing happened here for a long time.'
  return viewer.statusChoice === 'AUTOMATIC' && viewer.status === 'AWAY'
    ? 'You are shown as away: nothing happened here for a while.'
    : `You are shown as ${statusWord(viewer.status).toLowerCase()}.`
}

/** @param room - the list's; null: everyone's */
export function changeWords({ kind, user, previous }: SeenChange<User>, room: string | null): string {
  const name = shownName(user).text
  const status = statusWord(user.status).toLowerCase()
  if (kind === 'came') return room === null ? `${name} came online` : `${name} came into the room`
  if (kind === 'went') return room === null ? `${name} went offline` : `${name} left the room`
  if (previous !== null && previous.name !== user.name) return `${previous.name} is now called ${user.name}`
  if (previous !== null && previous.status === user.status && user.statusMessage === null) {
    return `${name} took their message back`
  }
  const message = user.statusMessage === null ? '' : `: “${user.statusMessage}”`
  return `${name} is ${status}${message}`
}

/** The page's own people have ids such as `alice-7f3k`, and no names: the name is shown, and what tells them apart. */
const OWN_PEOPLE = /^(alice|bob)-([a-z0-9]{4})$/

export interface ShownName {
  readonly name: string
  /** Null for everyone but the page's own people. */
  readonly suffix: string | null
  /** Both, for where there is one text. */
  readonly text: string
}

export function shownName({ id, name }: Pick<User, 'id' | 'name'>): ShownName {
  const [, first, suffix] = (name === id && OWN_PEOPLE.exec(id)) || []
  if (first === undefined || suffix === undefined) return { name, suffix: null, text: name }
  const capital = initial(first) + first.slice(1)
  return { name: capital, suffix, text: `${capital} ${suffix}` }
}

export function initial(name: string): string {
  const [first = '?'] = name.trim()
  return first.toLocaleUpperCase()
}
