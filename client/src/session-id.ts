/**
 * The id of this tab's session, which outlives its pages. A duplicated tab has a copy of it: the server asks the first one
 * whether it is there, and makes it a session of its own (docs/browsers.md).
 */
const KEY = 'rollcall:session'

export function tabSessionId(): string {
  try {
    const id = sessionStorage.getItem(KEY) ?? newUuid()
    sessionStorage.setItem(KEY, id)
    return id
  } catch {
    // Storage is blocked or full, or there is none: the next page is another session.
    return newUuid()
  }
}

/** Whoever signs in next in this tab is another session. */
export function forgetSessionId(): void {
  try {
    sessionStorage.removeItem(KEY)
  } catch {
    // It was never kept.
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
