/**
 * What the nodes say to each other on the channel. Any program that reaches Redis may publish there too, so a message
 * counts only in its one form.
 */

/** ring in lua/shared/commit.lua. Each field but the first two may be missing. */
export interface BellMessage {
  readonly epoch: string
  /** One more than that of the message before, in an epoch. */
  readonly bell: number
  /** An entry of the change log: its number, and itself as JSON. */
  readonly seq?: number
  readonly entry?: string
  /** Where the entry names no rooms, what changed of them, as JSON: an element of lua/shared/trail.lua. */
  readonly rooms?: string
  /** Whose own view changed. */
  readonly viewer?: string
  /** The number of a record. */
  readonly record?: number
  /** The number of a dismissal. */
  readonly dismissal?: number
  /** Nodes whose sockets lost sessions by this step, and should learn it at once. */
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

/** @returns null where it is not a message of this form. Fields that it does not name may come with a later version */
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

/** What the scripts count: from 1 on. */
function isNumberOfOurs(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) > 0
}
