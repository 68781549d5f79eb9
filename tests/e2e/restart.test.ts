import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import postgres from 'postgres'
import { afterEach, describe, expect, it } from 'vitest'
import { closeTabs, onlineIds, openTab, post, settled } from '../support/clients.ts'
import { type ServerProcess, startProcess } from '../support/process.ts'
import { DATABASES, postgresData } from '../support/server.ts'
import { until } from '../support/wait.ts'

const SETTINGS = { RECONNECT_GRACE: '3s', SESSION_TTL: '4s' }

let servers: ServerProcess[] = []
afterEach(async () => {
  closeTabs()
  for (const server of servers) await server.end('SIGKILL')
  servers = []
})

const metricsOf = async ({ url }: Pick<ServerProcess, 'url'>) => (await fetch(`${url}/metrics`)).text()

async function start(settings: Record<string, string | undefined>): Promise<ServerProcess> {
  const server = await startProcess(settings)
  servers.push(server)
  return server
}

describe.each(DATABASES)('a restart on $name', ({ prepare }) => {
  it.each(['SIGTERM', 'SIGKILL'] as const)(
    'by %s shows nothing of who comes back, and ends who does not, with the activity that they had last',
    async (signal) => {
      const data = await prepare()
      try {
        const [staying, leaving] = [`staying-${randomUUID()}`, `leaving-${randomUUID()}`]
        const [left, hidden] = [`left-${randomUUID()}`, `hidden-${randomUUID()}`]
        const first = await start({ ...SETTINGS, ...data.settings })
        const sessionId = randomUUID()
        const tab = await openTab(first, staying, { sessionId, rooms: ['lobby'] })
        await openTab(first, leaving)
        const hiding = await openTab(first, hidden)
        await hiding.ask('mutation { setVisibility(visibility: NOBODY) { viewer { id } } }')
        await post(first, `dev:${left}`, 'mutation { heartbeat { expiresAt } }')
        await post(first, `dev:${left}`, 'mutation { goOffline { viewer { id } } }')
        const lastSeen = (server: ServerProcess) =>
          post(server, 'dev:reader', `{ users(ids: ["${left}", "${hidden}"]) { isOnline lastSeen } }`)
        await tab.ask('mutation { heartbeat { expiresAt } }')
        const before = await post(first, 'dev:reader', '{ onlineUsers { nodes { id onlineSince lastActive } } }')
        // Killed, it keeps what was written LAST_ACTIVE_FLUSH ago: wait for that.
        if (signal === 'SIGKILL') {
          await sleep(500)
          await until(async () => (await metricsOf(first)).includes('\nrollcall_records_waiting 0\n'), {
            what: 'the database',
          })
        }
        const { data: seenLast } = await lastSeen(first)
        const gone = { isOnline: false, lastSeen: expect.any(String) }
        expect(seenLast).toEqual({ users: [gone, gone] })
        expect(await first.end(signal)).toBe(signal === 'SIGTERM' ? 0 : null)

        const second = await start({ ...SETTINGS, ...data.settings })
        const after = await post(second, 'dev:reader', '{ onlineUsers { nodes { id onlineSince lastActive } } }')
        expect(after.data?.onlineUsers.nodes.map(({ id }: { id: string }) => id).sort()).toEqual(
          [staying, leaving].sort(),
        )
        // Also of who is back in hiding, and goes on there.
        await openTab(second, hidden, { sessionId: hiding.sessionId })
        expect((await lastSeen(second)).data).toEqual(seenLast)
        const watcher = await openTab(second, 'watcher', { observer: true })
        const changes = watcher.follow(`(userIds: ["${staying}", "${leaving}"])`)
        await settled(watcher)
        const back = await openTab(second, staying, { sessionId })
        await until(() => changes.length === 1, { what: 'the LEAVE of who does not come back' })
        expect(changes.map(({ kind, user }) => [kind, user.id])).toEqual([['LEAVE', leaving]])
        const seenBefore = before.data?.onlineUsers.nodes.find(({ id }: { id: string }) => id === leaving)
        expect(changes[0]?.user).toMatchObject({ lastActive: seenBefore.lastActive, lastSeen: changes[0]?.at })

        const { data: answer } = await back.ask('{ viewer { user { onlineSince } sessions { id rooms } } }')
        const stayedSince = before.data?.onlineUsers.nodes.find(({ id }: { id: string }) => id === staying).onlineSince
        expect(answer?.viewer).toEqual({
          user: { onlineSince: stayedSince },
          sessions: [{ id: sessionId, rooms: ['lobby'] }],
        })
        expect(await onlineIds(second, 'dev:reader')).toEqual([staying])
        expect((await lastSeen(second)).data).toEqual(seenLast)
        await second.end('SIGTERM')

        if (data.settings.DATABASE_URL === undefined) return
        const sql = postgres(data.settings.DATABASE_URL, { max: 1 })
        const rows =
          await sql`select user_id, end_reason, ended_at = last_active as ended_at_last_activity, has_socket from rollcall.presence_sessions where user_id in (${leaving}, ${staying}) order by user_id`
        const users = await sql`select id, is_online, last_active, last_seen from rollcall.users where id = ${leaving}`
        await sql.end()
        // With Redis the live state outlives the process, and knows what became of its sockets.
        const isKept = data.settings.REDIS_URL !== undefined
        const endReason = !isKept ? 'SERVER_RESTART' : signal === 'SIGTERM' ? 'LOST' : 'NODE_LOST'
        expect(rows.map((row) => ({ ...row }))).toEqual([
          { user_id: leaving, end_reason: endReason, ended_at_last_activity: !isKept, has_socket: true },
          { user_id: staying, end_reason: null, ended_at_last_activity: null, has_socket: true },
        ])
        expect(users[0]?.is_online).toBe(false)
        expect(users[0]?.last_active.toISOString()).toBe(seenBefore.lastActive)
        expect(users[0]?.last_seen.toISOString()).toBe(changes[0]?.at)
      } finally {
        await data.drop()
      }
    },
  )
})

describe('a process', () => {
  it('that is stopped for six seconds loses no socket and takes nobody offline', async () => {
    const data = await postgresData()
    try {
      const server = await start({ ...data.settings, PAGE_PING_INTERVAL: '1s', PAGE_PONG_TIMEOUT: '1s' })
      const users = Array.from({ length: 5 }, () => `user-${randomUUID()}`)
      const tabs = await Promise.all(users.map((userId) => openTab(server, userId)))
      const watcher = await openTab(server, 'watcher', { observer: true })
      const changes = watcher.follow()
      await settled(watcher)
      const lost: unknown[] = []
      for (const tab of [...tabs, watcher]) tab.client.on('closed', (event) => void lost.push(event))

      server.child.kill('SIGSTOP')
      // The stop is the matter of the test: six seconds are three times an interval and a timeout of either ping.
      await sleep(6000)
      server.child.kill('SIGCONT')
      for (const tab of tabs) {
        const { data: answer } = await tab.ask('mutation { heartbeat { viewer { isOnline } } }')
        expect(answer?.heartbeat.viewer.isOnline).toBe(true)
      }
      // Another ping has been judged since.
      await sleep(2500)
      expect(lost).toEqual([])
      expect(changes).toEqual([])
      expect(await server.end('SIGTERM')).toBe(0)
    } finally {
      await data.drop()
    }
  })

  it('that comes second to a database waits, says so, and serves when the first one stops', async () => {
    const data = await postgresData()
    try {
      const first = await start({ ...data.settings })
      const lines: Record<string, unknown>[] = []
      const waiting = startProcess({ ...data.settings, NODE_RENEW: '300ms' }, lines)
      await until(() => lines.some(({ msg }) => String(msg).includes('Another process serves this database')), {
        what: 'the word of the second process',
        withinMs: 20_000,
      })
      expect(await first.end('SIGTERM')).toBe(0)
      const second = await waiting
      servers.push(second)
      expect((await fetch(`${second.url}/readyz`)).status).toBe(200)
    } finally {
      await data.drop()
    }
  })

  it('says each setting that it cannot use, and ends with 1', async () => {
    await expect(
      startProcess({ PORT: '70000', CLOSE_GRACE: 'soon', SESSION_TTL: '10s', HEARTBEAT_INTERVAL: '20s' }),
    ).rejects.toThrow(/ended with 1[\s\S]*PORT must be at most 65535[\s\S]*CLOSE_GRACE must be a duration/)
    await expect(startProcess({ NODE_ENV: 'production' })).rejects.toThrow(
      /JWT_SECRET or JWKS_URL must be set in production/,
    )
  })
})
