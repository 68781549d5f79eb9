/** What the page says, in plain words. */
import type { Freshness, ListChange } from './online-list.ts'
import type { OnlineUser, OwnViewer } from './operations.ts'
import type { Connection } from './own-presence.ts'

const STATUS_WORDS: Readonly<Record<OnlineUser['status'], string>> = {
  ONLINE: 'Online',
  AWAY: 'Away',
  BUSY: 'Busy',
  OFFLINE: 'Offline',
}

export function statusWord(status: OnlineUser['status']): string {
  return STATUS_WORDS[status]
}

/** A time of today as a clock shows it; another day's with its date. */
export function moment(iso: string, now: Date = new Date()): string {
  const date = new Date(iso)
  const isToday = date.toDateString() === now.toDateString()
  return date.toLocaleString(undefined, isToday ? { timeStyle: 'short' } : { dateStyle: 'medium', timeStyle: 'short' })
}

export function clock(ms: number): string {
  return new Date(ms).toLocaleTimeString()
}

export function freshnessWords(freshness: Freshness, connection: Connection): string {
  switch (freshness.kind) {
    case 'reading':
      return connection.kind === 'lost' ? 'The server cannot be reached. Trying again…' : 'Reading the list…'
    case 'live':
      return 'Up to date'
    case 'stale': {
      const asOf = `This list is stale: it is from ${clock(freshness.asOfMs)}.`
      return connection.kind === 'open'
        ? `${asOf} Waiting for the server…`
        : `${asOf} The connection is lost. Trying again…`
    }
    case 'failed':
      return `The list cannot be shown: ${freshness.error.message}`
  }
}

/** @param isComing - the server is being told that the person is there, or will be once they look at the tab */
export function ownState(
  viewer: OwnViewer | null,
  connection: Connection,
  { hasLeft, isComing }: { readonly hasLeft: boolean; readonly isComing: boolean },
): string {
  if (connection.kind === 'refused') return `The server refused you: ${connection.reason}`
  if (connection.kind === 'lost') return 'No connection. Trying again…'
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
export function changeWords({ kind, user, previous }: ListChange, room: string | null): string {
  const status = statusWord(user.status).toLowerCase()
  if (kind === 'JOIN') return room === null ? `${user.name} came online` : `${user.name} came into the room`
  if (kind === 'LEAVE') return room === null ? `${user.name} went offline` : `${user.name} left the room`
  if (previous !== null && previous.name !== user.name) return `${previous.name} is now called ${user.name}`
  if (previous !== null && previous.status === user.status && user.statusMessage === null) {
    return `${user.name} took their message back`
  }
  const message = user.statusMessage === null ? '' : `: “${user.statusMessage}”`
  return `${user.name} is ${status}${message}`
}
