/** The id of this tab's session: kept across reloads, and no other tab's. */
const KEY = 'rollcall:session'

/**
 * Takes the id that this tab left in its `sessionStorage`. While it is in use it is not there: a duplicated tab gets a
 * copy of the storage, and must not get the id.
 */
export function takeSessionId(): string {
  try {
    const found = sessionStorage.getItem(KEY)
    sessionStorage.removeItem(KEY)
    if (found) return found
  } catch {
    // Storage is blocked, or there is none.
  }
  return newUuid()
}

/** For the page that this tab loads next. */
export function leaveSessionId(id: string): void {
  try {
    sessionStorage.setItem(KEY, id)
  } catch {
    // Storage is blocked or full: the next page is another session.
  }
}

/** `crypto.randomUUID` exists only on https and localhost, and a phone in the same network has neither. */
function newUuid(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16))
  // RFC 9562: version 4, variant 10.
  bytes[6] = (Number(bytes[6]) & 0x0f) | 0x40
  bytes[8] = (Number(bytes[8]) & 0x3f) | 0x80
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')
}
