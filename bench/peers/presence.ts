/**
 * What every peer keeps and tells, so that servers differ in how they speak and in nothing else: who is there, the
 * members of each room in a Map, and one payload for a change, field by field as Rollcall's.
 */
import { randomBytes } from 'node:crypto'

export interface Change {
  readonly kind: 'JOIN' | 'UPDATE' | 'LEAVE'
  readonly position: string
  readonly at: string
  readonly room: string | null
  readonly previousStatus: Status
  readonly user: {
    readonly id: string
    readonly name: string
    readonly isOnline: boolean
    readonly status: Status
    readonly statusMessage: string | null
    readonly onlineSince: string | null
    readonly lastActive: string | null
  }
}

type Status = 'ONLINE' | 'OFFLINE'

export interface Page {
  readonly users: readonly Change['user'][]
  readonly totalCount: number
  readonly position: string
}

export interface Beat {
  /** Null as in Rollcall: a session that a socket holds does not run out. */
  readonly expiresAt: string | null
  readonly nextHeartbeatInMs: number
}

/** Somebody who is signed in, with as many sockets as they like. */
export interface Member {
  readonly id: string
  readonly name: string
  readonly onlineSince: string
  lastActive: string
  socketCount: number
}

const HEARTBEAT_INTERVAL_MS = 30_000

/** @param tellWatchers - hears of who comes and goes */
export function createPresence(tellWatchers: (change: Change) => void) {
  const epoch = randomBytes(8).toString('hex')
  let seq = 0
  const members = new Map<string, Member>()
  const rooms = new Map<string, Map<string, Member>>()
  /** All members by their ids, while nobody comes or goes. */
  let sorted: readonly Member[] | null = null

  function changeOf(kind: Change['kind'], room: string | null, member: Member, wasOnline = true): Change {
    seq += 1
    return {
      kind,
      position: `${epoch}:${seq}`,
      at: new Date().toISOString(),
      room,
      previousStatus: wasOnline ? 'ONLINE' : 'OFFLINE',
      user: userOf(member),
    }
  }

  function userOf({ id, name, onlineSince, lastActive, socketCount }: Member): Change['user'] {
    const isOnline = socketCount > 0
    return {
      id,
      name,
      isOnline,
      status: isOnline ? 'ONLINE' : 'OFFLINE',
      statusMessage: null,
      onlineSince: isOnline ? onlineSince : null,
      lastActive,
    }
  }

  return {
    /** A socket of theirs said who it is. */
    enter({ id, name }: Pick<Member, 'id' | 'name'>): Member {
      const known = members.get(id)
      if (known !== undefined) {
        known.socketCount += 1
        return known
      }
      const now = new Date().toISOString()
      const member = { id, name, onlineSince: now, lastActive: now, socketCount: 1 }
      members.set(id, member)
      sorted = null
      tellWatchers(changeOf('JOIN', null, member, false))
      return member
    },

    /** A socket of theirs closed. */
    exit(member: Member): void {
      member.socketCount -= 1
      if (member.socketCount > 0) return
      members.delete(member.id)
      sorted = null
      for (const room of rooms.values()) room.delete(member.id)
      tellWatchers(changeOf('LEAVE', null, member))
    },

    /** @returns null where they were in it */
    join(member: Member, room: string): Change | null {
      let inRoom = rooms.get(room)
      if (inRoom === undefined) {
        inRoom = new Map()
        rooms.set(room, inRoom)
      }
      if (inRoom.has(member.id)) return null
      inRoom.set(member.id, member)
      return changeOf('JOIN', room, member)
    },

    /** @returns null where they were not in it */
    leave(member: Member, room: string): Change | null {
      const isGone = rooms.get(room)?.delete(member.id) ?? false
      return isGone ? changeOf('LEAVE', room, member) : null
    },

    /** Members in the order of their ids, from a place on, with the fields of `Change`. */
    page(from: number, count: number): Page {
      sorted ??= [...members.values()].sort((one, other) => (one.id < other.id ? -1 : 1))
      const page = sorted.slice(from, from + count)
      return { users: page.map(userOf), totalCount: members.size, position: `${epoch}:${seq}` }
    },

    beat(member: Member): Beat {
      member.lastActive = new Date().toISOString()
      return { expiresAt: null, nextHeartbeatInMs: HEARTBEAT_INTERVAL_MS }
    },
  }
}
