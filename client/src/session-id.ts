/**
 * The id of this tab's session, which outlives its pages. A duplicated tab has a copy of it: the server asks the first one
 * whether it is there, and makes it a session of its own (docs/browsers.md), which that tab keeps from then on.
 */
import { newUuid } from './uuid.ts'

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

export function keepSessionId(id: string): void {
  try {
    sessionStorage.setItem(KEY, id)
  } catch {
    // The next page is another session.
  }
}

/** The next user who signs in in this tab gets a session of their own. */
export function forgetSessionId(): void {
  try {
    sessionStorage.removeItem(KEY)
  } catch {
    // It was never kept.
  }
}
