/**
 * Compares the public columns of `rollcall.users` with what a running server shows, and prints the differences:
 * `DATABASE_URL=… npm run db:verify -- --url https://presence.example.com/graphql --token …`.
 *
 * The server is asked over its own API, so this is the same with Redis and without. The columns follow the live state
 * by a moment, so a difference counts only if it is still there after `--within`.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { SignJWT } from 'jose'
import postgres, { type Sql } from 'postgres'
import { type Config, parseConfig, settingsOfEnvironment } from '../src/config.ts'

const USAGE = `usage: DATABASE_URL=… npm run db:verify -- [--url http://localhost:4000/graphql] [--token TOKEN]
                                                 [--within SECONDS] [--lag SECONDS]
--token   of the role \`service\`; left out, one is signed with JWT_SECRET
--within  how long a difference must last to count, 30 by default
--lag     how far last_active may be behind, 15 by default: LAST_ACTIVE_FLUSH and a little more
Ends with 0 if nothing differs, with 1 if something does, and with 2 if it could not be compared.
`
/** Ids of one request: of the longest ids they have 51 KB, and a request may have 64. */
const PAGE_COUNT = 400
const LOOK_EVERY_MS = 1000
const TOKEN_LIFETIME = '1h'

const { values } = parseArgs({
  options: {
    url: { type: 'string', default: 'http://localhost:4000/graphql' },
    token: { type: 'string' },
    within: { type: 'string', default: '30' },
    lag: { type: 'string', default: '15' },
  },
})
const withinMs = 1000 * Number(values.within)
const lagMs = 1000 * Number(values.lag)

/** What everyone sees of a user; null without a row, or if the server does not know them. */
type Shown = {
  readonly isOnline: boolean
  readonly onlineSinceMs: number | null
  readonly lastActiveAtMs: number | null
  readonly lastSeenAtMs: number | null
} | null

interface Difference {
  readonly userId: string
  readonly column: Shown
  readonly live: Shown
}

process.exitCode = await main().catch((error: unknown) => {
  process.stderr.write(`It could not be compared: ${error instanceof Error ? error.message : String(error)}\n`)
  return 2
})

async function main(): Promise<number> {
  const config = parseConfig(settingsOfEnvironment())
  const token = values.token ?? (await signServiceToken(config))
  if (config.DATABASE_URL === null || token === null || !(withinMs >= 0) || !(lagMs >= 0)) {
    process.stderr.write(USAGE)
    return 2
  }
  const sql = postgres(config.DATABASE_URL, { max: 1 })
  try {
    const { userCount, differences } = await compare(sql, token)
    for (const { userId, column, live } of differences) {
      process.stdout.write(
        `${JSON.stringify(userId)}: the row says ${sentenceOf(column)}, the server says ${sentenceOf(live)}\n`,
      )
    }
    process.stdout.write(`${userCount} users compared, ${differences.length} differ.\n`)
    return differences.length === 0 ? 0 : 1
  } finally {
    await sql.end()
  }
}

async function compare(
  sql: Sql,
  token: string,
): Promise<{ readonly userCount: number; readonly differences: readonly Difference[] }> {
  const seen = new Set<string>()
  let differences: Difference[] = []
  for await (const userIds of allUserIds(sql, token)) {
    const unseen = userIds.filter((userId) => !seen.has(userId))
    for (const userId of unseen) seen.add(userId)
    differences.push(...(await differencesOf(sql, token, unseen)))
  }
  // Whatever was under way is written by then. What agrees once did not differ.
  for (const untilMs = Date.now() + withinMs; differences.length > 0 && Date.now() < untilMs; ) {
    await sleep(LOOK_EVERY_MS)
    const again: Difference[] = []
    for (let from = 0; from < differences.length; from += PAGE_COUNT) {
      const userIds = differences.slice(from, from + PAGE_COUNT).map(({ userId }) => userId)
      again.push(...(await differencesOf(sql, token, userIds)))
    }
    differences = again
  }
  return { userCount: seen.size, differences }
}

/** The users who have a row, and those who are online: one may be without the other. */
async function* allUserIds(sql: Sql, token: string): AsyncGenerator<string[]> {
  for (let after = ''; ; ) {
    const rows = await sql<{ id: string }[]>`
      select id from rollcall.users where id > ${after} order by id limit ${PAGE_COUNT}`
    if (rows.length === 0) break
    yield rows.map(({ id }) => id)
    after = rows.at(-1)?.id ?? ''
  }
  for (let after: string | null = null; ; ) {
    const { onlineUsers }: OnlineUsers = await ask(
      token,
      `query ($first: Int, $after: String) {
        onlineUsers(first: $first, after: $after) { nodes { id } pageInfo { hasNextPage endCursor } } }`,
      { first: PAGE_COUNT, after },
    )
    yield onlineUsers.nodes.map(({ id }) => id)
    if (!onlineUsers.pageInfo.hasNextPage) return
    after = onlineUsers.pageInfo.endCursor
  }
}

interface OnlineUsers {
  readonly onlineUsers: {
    readonly nodes: readonly { readonly id: string }[]
    readonly pageInfo: { readonly hasNextPage: boolean; readonly endCursor: string | null }
  }
}

async function differencesOf(sql: Sql, token: string, userIds: readonly string[]): Promise<Difference[]> {
  if (userIds.length === 0) return []
  // The columns first: the live state is never behind them.
  const rows = await sql`
    select id, is_online, online_since, last_active, last_seen from rollcall.users where id = any(${[...userIds]})`
  const columns = new Map(
    rows.map((row) => [
      String(row.id),
      {
        isOnline: Boolean(row.is_online),
        onlineSinceMs: msOf(row.online_since),
        lastActiveAtMs: msOf(row.last_active),
        lastSeenAtMs: msOf(row.last_seen),
      },
    ]),
  )
  const { users } = await ask<{ users: readonly (ShownUser | null)[] }>(
    token,
    'query ($ids: [ID!]!) { users(ids: $ids) { id isOnline onlineSince lastActive lastSeen } }',
    { ids: userIds },
  )
  return userIds.flatMap((userId, index) => {
    const column = columns.get(userId) ?? null
    const live = shownOf(users[index] ?? null)
    return agree(column, live) ? [] : [{ userId, column, live }]
  })
}

interface ShownUser {
  readonly isOnline: boolean
  readonly onlineSince: string | null
  readonly lastActive: string | null
  readonly lastSeen: string | null
}

function shownOf(user: ShownUser | null): Shown {
  if (user === null) return null
  return {
    isOnline: user.isOnline,
    onlineSinceMs: msOf(user.onlineSince),
    lastActiveAtMs: msOf(user.lastActive),
    lastSeenAtMs: msOf(user.lastSeen),
  }
}

function agree(column: Shown, live: Shown): boolean {
  if (column === null || live === null) return column === live
  if (column.isOnline !== live.isOnline || column.onlineSinceMs !== live.onlineSinceMs) return false
  if (column.lastSeenAtMs !== live.lastSeenAtMs) return false
  if (column.lastActiveAtMs === null || live.lastActiveAtMs === null) {
    return column.lastActiveAtMs === live.lastActiveAtMs
  }
  const behindMs = live.lastActiveAtMs - column.lastActiveAtMs
  return behindMs >= 0 && behindMs <= lagMs
}

function sentenceOf(shown: Shown): string {
  if (shown === null) return 'nothing'
  const { isOnline, onlineSinceMs, lastActiveAtMs, lastSeenAtMs } = shown
  const presence = isOnline ? `online since ${isoOf(onlineSinceMs)}` : `offline, last seen ${isoOf(lastSeenAtMs)}`
  return `${presence}, active ${isoOf(lastActiveAtMs)}`
}

function isoOf(atMs: number | null): string {
  return atMs === null ? 'never' : new Date(atMs).toISOString()
}

function msOf(moment: unknown): number | null {
  if (moment === null || moment === undefined) return null
  return moment instanceof Date ? moment.getTime() : Date.parse(String(moment))
}

async function ask<Data>(token: string, query: string, variables: object): Promise<Data> {
  const response = await fetch(values.url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
    body: JSON.stringify({ query, variables }),
  })
  const { data, errors } = (await response.json()) as {
    data?: Data | null
    errors?: readonly { readonly message: string }[]
  }
  if (data === null || data === undefined || errors !== undefined) {
    throw new Error(`${values.url} said ${response.status}: ${errors?.[0]?.message ?? 'nothing'}`)
  }
  return data
}

async function signServiceToken(config: Config): Promise<string | null> {
  if (config.JWT_SECRET === null) return null
  const token = new SignJWT({ [config.JWT_PRESENCE_CLAIM]: { role: 'service' } })
    .setProtectedHeader({ alg: 'HS256' })
    .setSubject('db-verify')
    .setIssuedAt()
    .setExpirationTime(TOKEN_LIFETIME)
  if (config.JWT_ISSUER !== null) token.setIssuer(config.JWT_ISSUER)
  if (config.JWT_AUDIENCE !== null) token.setAudience(config.JWT_AUDIENCE)
  return await token.sign(new TextEncoder().encode(config.JWT_SECRET))
}
