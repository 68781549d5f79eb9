/**
 * The messages on the bell channel. Any program that reaches Redis can publish there too, so each message is checked
 * against its one form.
 */

/** ring in lua/shared/commit.lua. All fields but the first two are optional. */
export interface BellMessage {
  readonly epoch: string
  /** The number of the message: within an epoch, one more than that of the previous message. */
  readonly bell: number
  /** The number of an entry of the change log; `entry` is the entry as JSON. */
  readonly seq?: number
  readonly entry?: string
  /** If the entry names no rooms: the changes of rooms, as JSON (an element of lua/shared/trail.lua). */
  readonly rooms?: string
  /** The user whose `ViewerState` changed. */
  readonly viewer?: string
  /** The number of a record. */
  readonly record?: number
  /** The number of a dismissal. */
  readonly dismissal?: number
  /** Ids of nodes whose sockets lost sessions in this step. They should renew at once. */
  readonly lostBy?: readonly unknown[]
  /** The time of announcements is over. */
  readonly isOpen?: boolean
}

type Form = (value: unknown) => boolean

const FORMS: Readonly<Record<keyof BellMessage, Form>> = {
  epoch: isText,
  bell: isNumberOfOurs,
  seq: isNumberOfOurs,
  entry: isText,
  rooms: isText,
  viewer: isText,
  record: isNumberOfOurs,
  dismissal: isNumberOfOurs,
  lostBy: Array.isArray,
  isOpen: (value) => typeof value === 'boolean',
}
const REQUIRED: readonly string[] = ['epoch', 'bell'] satisfies readonly (keyof BellMessage)[]

/** @returns null if the value does not have this form. Unknown fields are allowed: a later version may add some */
export function bellMessage(value: unknown): BellMessage | null {
  if (typeof value !== 'object' || value === null) return null
  const fields = value as Readonly<Record<string, unknown>>
  for (const [name, isOfForm] of Object.entries(FORMS)) {
    const isThere = Object.hasOwn(fields, name)
    if (isThere ? !isOfForm(fields[name]) : REQUIRED.includes(name)) return null
  }
  return fields as unknown as BellMessage
}

function isText(value: unknown): boolean {
  return typeof value === 'string'
}

/** The scripts count from 1. */
function isNumberOfOurs(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) > 0
}
