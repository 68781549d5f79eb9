/**
 * Somebody who looks for users that hide, or have left: in the lists, counts, look-ups and changes of every node, and in
 * the columns. What gives one of them away is a problem.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import postgres from 'postgres'
import { askOverHttp } from './people.ts'
import { type Watcher, watch } from './watcher.ts'
import type { World } from './world.ts'

export interface Spy {
  /** A sentence for each trace of them that was seen, a few of each. */
  readonly problems: readonly string[]
  /** Answers that were whole, of all nodes. */
  readCount(): number
  /** Stops, and lays what the streams of changes told to the problems. */
  stop(): Promise<void>
}

const EVERY_MS = 25
const MOST_PROBLEMS = 20
const ROOM = 'hall'

/** @param userIds - none of whom may be seen from now on */
export function spyOn({ nodes, databaseUrl }: World, userIds: readonly string[]): Spy {
  const problems: string[] = []
  const shownMoments = new Map<string, Set<string>>()
  const sql = postgres(databaseUrl, { max: 1, onnotice: () => {} })
  let isOver = false
  let readCount = 0

  function accuse(sentence: string): void {
    if (problems.length < MOST_PROBLEMS) problems.push(`${Math.round(performance.now())} ${sentence}`)
  }

  /** `lastActive` and `lastSeen` stand still while they hide, wherever they are read. */
  function expectFrozen(where: string, userId: string, lastActive: string | null, lastSeen: string | null): void {
    const key = `${where} of ${userId}`
    const moments = shownMoments.get(key) ?? new Set()
    shownMoments.set(key, moments)
    moments.add(`${lastActive} and ${lastSeen}`)
    if (moments.size > 1) accuse(`${key}: lastActive and lastSeen were ${[...moments].join(', then ')}`)
  }

  const ids = JSON.stringify(userIds)
  const query = `{
    onlineUsers(first: 1000) { totalCount nodes { id } }
    room: onlineUsers(room: "${ROOM}", first: 1000) { totalCount nodes { id } }
    users(ids: ${ids}) { id isOnline status onlineSince lastActive lastSeen }
  }`
  const reading = nodes.map(async (node) => {
    while (!isOver) {
      const answer = node.isAlive() ? await askOverHttp(node, 'spy', query) : null
      const { data } = answer ?? {}
      if (data && answer?.errors === undefined) {
        readCount += 1
        for (const list of [data.onlineUsers, data.room]) {
          const listed: string[] = list.nodes.map(({ id }: { id: string }) => id)
          for (const id of userIds) if (listed.includes(id)) accuse(`${id} is in a list of ${node.url()}`)
          if (listed.length !== list.totalCount) accuse(`${node.url()} counts ${list.totalCount} of ${listed.length}`)
        }
        for (const user of data.users) {
          if (user === null) continue
          if (user.isOnline || user.status !== 'OFFLINE' || user.onlineSince !== null) {
            accuse(`${node.url()} says of ${user.id} ${JSON.stringify(user)}`)
          }
          expectFrozen('the API', user.id, user.lastActive, user.lastSeen)
        }
      }
      await sleep(EVERY_MS)
    }
  })
  const columns = (async () => {
    while (!isOver) {
      const rows = await sql`
        select id, is_online, online_since, last_active::text, last_seen::text from rollcall.users where id in ${sql(userIds)}`
      for (const row of rows) {
        if (row.is_online || row.online_since !== null) accuse(`the row of ${row.id} says that they are online`)
        expectFrozen('the column', row.id, row.last_active, row.last_seen)
      }
      await sleep(EVERY_MS)
    }
  })()
  const watchers: readonly Watcher[] = nodes.map((node, index) =>
    watch(`spy-${index}`, () => {
      const there = node.isAlive() ? node : (nodes.find((other) => other.isAlive()) ?? node)
      return { url: there.url(), wsUrl: there.wsUrl() }
    }),
  )

  return {
    problems,
    readCount: () => readCount,
    async stop() {
      if (isOver) return
      isOver = true
      await Promise.all([...reading, columns, ...watchers.map((watcher) => watcher.stop())])
      for (const { name, changes, picture, problems: theirs } of watchers) {
        for (const { kind, userId } of changes)
          if (userIds.includes(userId)) accuse(`${name} was told ${kind} of ${userId}`)
        for (const id of userIds) if (picture().has(id)) accuse(`${name} has ${id} in its picture`)
        for (const problem of theirs) accuse(problem)
      }
      await sql.end()
    },
  }
}
