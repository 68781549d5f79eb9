/** What this tab remembers across a reload. Another tab of the same browser is somebody else, or another session. */
import { newUuid } from '../../client/src/uuid.ts'

const SIGNED_IN_KEY = 'rollcall'
const PAIR_KEY = 'rollcall:pair'

/** Who is signed in alone. */
export interface TabMemory {
  /** A user id, or a token. */
  readonly identity: string
  readonly room: string | null
  /** The person went offline in this tab, and has not come back. */
  readonly hasLeft: boolean
}

/** The two people of the first view. */
export interface PairMemory {
  /** Ends both ids, so that two visitors of one server are four people. */
  readonly suffix: string
  readonly sessionIds: { readonly alice: string; readonly bob: string }
  readonly hasLeft: { readonly alice: boolean; readonly bob: boolean }
}

/** Without vowels and what is mistaken for another letter: 27^4 are half a million. */
const SUFFIX_LETTERS = 'bcdfghjkmnpqrstvwxz23456789'
const SUFFIX_LENGTH = 4

export function newTabMemory(identity: string, room: string): TabMemory {
  const name = room.trim()
  return { identity, room: name === '' ? null : name, hasLeft: false }
}

export function recall(): TabMemory | null {
  const found = read(SIGNED_IN_KEY)
  return isTabMemory(found) ? found : null
}

/** @returns false where storage is blocked or full: the tab does without, and forgets when it is loaded again */
export function remember(memory: TabMemory | null): boolean {
  return write(SIGNED_IN_KEY, memory)
}

export function recallPair(): PairMemory {
  const found = read(PAIR_KEY)
  if (isPairMemory(found)) return found
  const memory: PairMemory = {
    suffix: Array.from(
      crypto.getRandomValues(new Uint8Array(SUFFIX_LENGTH)),
      (byte) => SUFFIX_LETTERS[byte % SUFFIX_LETTERS.length],
    ).join(''),
    sessionIds: { alice: newUuid(), bob: newUuid() },
    hasLeft: { alice: false, bob: false },
  }
  rememberPair(memory)
  return memory
}

export function rememberPair(memory: PairMemory): void {
  write(PAIR_KEY, memory)
}

/** A token goes as it is; a user id becomes a token that works in development only. */
export function tokenOf(identity: string): string {
  return isToken(identity) ? identity : `dev:${identity}`
}

/** RFC 7519: three parts of base64url, the first of which begins with `{"`. */
export function isToken(identity: string): boolean {
  return /^eyJ[\w-]*\.[\w-]+\.[\w-]+$/.test(identity)
}

function read(key: string): unknown {
  try {
    return JSON.parse(sessionStorage.getItem(key) ?? 'null')
  } catch {
    // Not ours, or storage is blocked: then it throws, or is null.
    return null
  }
}

function write(key: string, value: unknown): boolean {
  try {
    if (value === null) sessionStorage.removeItem(key)
    else sessionStorage.setItem(key, JSON.stringify(value))
    return true
  } catch {
    return false
  }
}

function isTabMemory(value: unknown): value is TabMemory {
  if (typeof value !== 'object' || value === null) return false
  const { identity, room, hasLeft } = value as Record<keyof TabMemory, unknown>
  return typeof identity === 'string' && (room === null || typeof room === 'string') && typeof hasLeft === 'boolean'
}

function isPairMemory(value: unknown): value is PairMemory {
  if (typeof value !== 'object' || value === null) return false
  const { suffix, sessionIds, hasLeft } = value as Partial<PairMemory>
  return (
    typeof suffix === 'string' &&
    typeof sessionIds?.alice === 'string' &&
    typeof sessionIds.bob === 'string' &&
    typeof hasLeft?.alice === 'boolean' &&
    typeof hasLeft.bob === 'boolean'
  )
}
