/** What this tab remembers across a reload. Another tab of the same browser is another session. */
const KEY = 'rollcall'

export interface TabMemory {
  /** A user id, or a token. */
  readonly identity: string
  readonly room: string | null
  readonly sessionId: string
  readonly hasLeft: boolean
}

/** A tab is one session, also where its person signs in for another room: it then moves there. */
export function newTabMemory(identity: string, room: string): TabMemory {
  const sessionId = recall()?.sessionId ?? newUuid()
  return { identity, room: room === '' ? null : room, sessionId, hasLeft: false }
}

export function recall(): TabMemory | null {
  try {
    const found: unknown = JSON.parse(sessionStorage.getItem(KEY) ?? 'null')
    return isTabMemory(found) ? found : null
  } catch {
    // Not ours, or storage is blocked: then it throws, or is null.
    return null
  }
}

/** @returns false where storage is blocked or full: the tab does without, and forgets when it is loaded again */
export function remember(memory: TabMemory | null): boolean {
  try {
    if (memory === null) sessionStorage.removeItem(KEY)
    else sessionStorage.setItem(KEY, JSON.stringify(memory))
    return true
  } catch {
    return false
  }
}

/** A token goes as it is; a user id becomes a token that works in development only. */
export function tokenOf({ identity }: TabMemory): string {
  return isToken(identity) ? identity : `dev:${identity}`
}

/** RFC 7519: three parts of base64url, the first of which begins with `{"`. */
export function isToken(identity: string): boolean {
  return /^eyJ[\w-]*\.[\w-]+\.[\w-]+$/.test(identity)
}

function isTabMemory(value: unknown): value is TabMemory {
  if (typeof value !== 'object' || value === null) return false
  const { identity, room, sessionId, hasLeft } = value as Record<keyof TabMemory, unknown>
  const hasRoom = room === null || typeof room === 'string'
  return typeof identity === 'string' && hasRoom && typeof sessionId === 'string' && typeof hasLeft === 'boolean'
}

/** `crypto.randomUUID` exists only on https and localhost, and a phone in the same network has neither. */
function newUuid(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16))
  // RFC 9562: version 4, variant 10.
  bytes[6] = (Number(bytes[6]) & 0x0f) | 0x40
  bytes[8] = (Number(bytes[8]) & 0x3f) | 0x80
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-')
}
