/**
 * A subscriber as the documentation asks for it: it reads the list, follows the changes after its position, resumes
 * where it was, and reads anew where it is told to. It keeps what it saw, and what must not have happened.
 */
import { createClient } from 'graphql-ws'
import { WebSocket } from 'ws'
import { type Answer, post } from '../support/clients.ts'

export interface Seen {
  readonly kind: 'JOIN' | 'UPDATE' | 'LEAVE'
  readonly userId: string
  readonly position: string
  readonly atMs: number
}

export interface Watcher {
  readonly name: string
  /** Who is online by what it was told, with their status. */
  picture(): ReadonlyMap<string, string>
  readonly changes: readonly Seen[]
  /** Changes out of order or doubled, a sentence each. */
  readonly problems: readonly string[]
  /** How often it was told to read anew. */
  expiredCount(): number
  /** Its own words about each error, for the report of a failure. */
  readonly errors: readonly string[]
  stop(): Promise<void>
}

/** A retry of an app's: soon, for tests are short. */
const RETRY_MS = 200

/**
 * @param at - where it connects; asked again at each attempt
 * @param onPicture - called whenever the picture is another one
 */
export function watch(
  name: string,
  at: () => { readonly url: string; readonly wsUrl: string },
  room?: string,
  onPicture: (picture: ReadonlyMap<string, string>) => void = () => {},
): Watcher {
  const picture = new Map<string, string>()
  const changes: Seen[] = []
  const problems: string[] = []
  const errors: string[] = []
  let position: string | null = null
  let expiredCount = 0
  let isStopped = false
  let interrupt = (): void => {}
  const token = `dev:${name}`

  function note(error: unknown): void {
    if (errors.length < 1000) errors.push(`${Math.round(performance.now())} ${describe(error)}`)
  }

  async function readList(): Promise<void> {
    const users = new Map<string, string>()
    let start: string | null = null
    for (let after: string | null = null; ; ) {
      const answer: Answer & { readonly status: number } = await post(at(), token, LIST, { after, room })
      const page = answer.data?.onlineUsers
      if (!page || answer.errors) throw answer.errors?.[0] ?? new Error(`The list was answered with ${answer.status}.`)
      start ??= answer.data?.position
      for (const { id, status } of page.nodes) users.set(id, status)
      if (!page.pageInfo.hasNextPage) break
      after = page.pageInfo.endCursor
    }
    picture.clear()
    for (const [id, status] of users) picture.set(id, status)
    onPicture(picture)
    position = start
  }

  /** @returns when the stream is over, however */
  function follow(): Promise<'expired' | 'lost'> {
    return new Promise((resolve) => {
      const client = createClient({
        url: at().wsUrl,
        webSocketImpl: WebSocket,
        retryAttempts: 0,
        // A wire that falls silent is noticed by the client as well.
        keepAlive: 1000,
        connectionParams: { authorization: `Bearer ${token}`, observer: true },
      })
      const end = (how: 'expired' | 'lost'): void => {
        interrupt = () => {}
        resolve(how)
        void Promise.resolve(client.dispose()).catch(() => {})
      }
      interrupt = () => end('lost')
      client.subscribe<{ presenceChanged: Change }>(
        { query: CHANGES, variables: { after: position, room } },
        {
          next: ({ data }) => void (data && take(data.presenceChanged)),
          error(error) {
            note(error)
            end(codesOf(error).includes('POSITION_EXPIRED') ? 'expired' : 'lost')
          },
          complete: () => end('lost'),
        },
      )
    })
  }

  function take({ kind, position: at, user }: Change): void {
    const seen = { kind, userId: user.id, position: at, atMs: performance.now() }
    if (position !== null && !isAfter(at, position)) {
      problems.push(`${name} was told ${kind} of ${user.id} at ${at} after ${position}`)
    }
    changes.push(seen)
    position = at
    if (kind === 'LEAVE') picture.delete(user.id)
    else picture.set(user.id, user.status)
    onPicture(picture)
  }

  async function run(): Promise<void> {
    while (!isStopped) {
      try {
        if (position === null) await readList()
        if ((await follow()) === 'expired') {
          expiredCount += 1
          position = null
          continue
        }
      } catch (error) {
        note(error)
      }
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS))
    }
  }

  const running = run()
  return {
    name,
    picture: () => picture,
    changes,
    problems,
    errors,
    expiredCount: () => expiredCount,
    async stop() {
      isStopped = true
      interrupt()
      await running
    },
  }
}

interface Change {
  readonly kind: Seen['kind']
  readonly position: string
  readonly user: { readonly id: string; readonly status: string }
}

const LIST = `query ($after: String, $room: ID) {
  position
  onlineUsers(first: 1000, after: $after, room: $room) { nodes { id status } pageInfo { hasNextPage endCursor } }
}`
const CHANGES = `subscription ($after: String, $room: ID) {
  presenceChanged(after: $after, room: $room) { kind position user { id status } }
}`

function isAfter(one: string, other: string): boolean {
  const [epoch, seq] = one.split(':')
  const [otherEpoch, otherSeq] = other.split(':')
  return epoch === otherEpoch && Number(seq) > Number(otherSeq)
}

function codesOf(error: unknown): readonly string[] {
  return Array.isArray(error) ? error.map(({ extensions }) => String(extensions?.code)) : []
}

function describe(error: unknown): string {
  if (Array.isArray(error)) return codesOf(error).join()
  if (error instanceof Error) return error.message
  const { code, reason } = (error ?? {}) as { code?: unknown; reason?: unknown }
  return code === undefined ? JSON.stringify(error) : `closed with ${code} ${reason}`
}
