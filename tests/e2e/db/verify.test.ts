/** `npm run db:verify`: the columns beside what a running server shows. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import postgres from 'postgres'
import { afterEach, describe, expect, it } from 'vitest'
import { closeTabs, openTab, post } from '../../support/clients.ts'
import { postgresData, redisData, startServer, type TestData, type TestServer } from '../../support/server.ts'
import { until } from '../../support/wait.ts'

const SECRET = 'a-secret-for-tests-of-32-bytes-or-more'

describe.each([
  { name: 'one process', prepare: postgresData },
  { name: 'Redis', prepare: redisData },
])('db:verify with $name', ({ prepare }) => {
  let data: TestData
  let server: TestServer
  let app: postgres.Sql

  afterEach(async () => {
    closeTabs()
    await app?.end()
    await server?.stop()
    await data?.drop()
  })

  async function verify(settings: Record<string, string> = {}): Promise<{ code: number; text: string }> {
    const program = [
      '--import',
      'tsx',
      'scripts/verify.ts',
      '--url',
      `${server.url}/graphql`,
      '--within',
      '3',
      '--lag',
      '2',
    ]
    const child = spawn(process.execPath, program, {
      env: { ...process.env, DATABASE_URL: String(data.settings.DATABASE_URL), JWT_SECRET: SECRET, ...settings },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let text = ''
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (text += String(chunk)))
    const [code] = await once(child, 'close')
    return { code: Number(code), text }
  }

  it('finds nothing where all is well, and names what differs', { timeout: 60_000 }, async () => {
    data = await prepare()
    server = await startServer({ ...data.settings, JWT_SECRET: SECRET })
    app = postgres(String(data.settings.DATABASE_URL), { max: 1 })
    // One who is here and active all the time, one who hides, one who left, one who hides their activity.
    const here = await openTab(server, 'alice')
    const beats = setInterval(() => void here.ask('mutation { heartbeat { viewer { id } } }').catch(() => {}), 100)
    try {
      await openTab(server, 'bob')
      await post(server, 'dev:bob', 'mutation { setVisibility(visibility: NOBODY) { viewer { id } } }')
      await openTab(server, 'carol')
      await post(
        server,
        'dev:carol',
        'mutation { setVisibility(visibility: EVERYONE, hideLastActive: true) { viewer { id } } }',
      )
      await post(server, 'dev:dave', 'mutation { heartbeat { viewer { id } } }')
      await post(server, 'dev:dave', 'mutation { goOffline { viewer { id } } }')
      expect(await verify()).toEqual({ code: 0, text: '4 users compared, 0 differ.\n' })

      await app`update rollcall.users set is_online = true, online_since = now() where id = 'dave'`
      await app`insert into rollcall.users (id, is_online) values ('ghost', true)`
      await app`delete from rollcall.users where id = 'carol'`
      await app`update rollcall.users set last_seen = last_seen - interval '1 second' where id = 'bob'`
      const { code, text } = await verify()
      expect(code).toBe(1)
      expect(
        text
          .split('\n')
          .filter((line) => line.includes('the row says'))
          .sort(),
      ).toEqual([
        expect.stringMatching(/^"bob": the row says offline, last seen .*, the server says offline, last seen /),
        expect.stringMatching(/^"carol": the row says nothing, the server says online since .*, active never$/),
        expect.stringMatching(
          /^"dave": the row says online since .*, the server says offline, last seen never, active /,
        ),
        expect.stringMatching(
          /^"ghost": the row says online since never, active never, the server says offline, last seen never, active never$/,
        ),
      ])
      expect(text).toContain('5 users compared, 4 differ.')
    } finally {
      clearInterval(beats)
    }
  })

  it('says that it could not compare, and does not say that all is well', { timeout: 60_000 }, async () => {
    data = await prepare()
    server = await startServer({ ...data.settings, JWT_SECRET: SECRET })
    app = postgres(String(data.settings.DATABASE_URL), { max: 1 })
    await until(async () => (await app`select from rollcall.users`).length === 0)
    const refused = await verify({ JWT_SECRET: SECRET.toUpperCase() })
    expect(refused).toMatchObject({ code: 2, text: expect.stringContaining('It could not be compared: ') })
    expect(await verify({ JWT_SECRET: '' })).toMatchObject({ code: 2, text: expect.stringContaining('usage: ') })
  })
})
