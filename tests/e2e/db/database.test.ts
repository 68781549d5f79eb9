import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { type AddressInfo, connect, createServer } from 'node:net'
import { join } from 'node:path'
import { type SQL, sql } from 'drizzle-orm'
import postgres from 'postgres'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { type Database, openDatabase } from '../../../src/db/client.ts'
import { migrate } from '../../../src/db/migrate.ts'
import { freshDatabase } from '../../support/postgres.ts'
import { openTcpProxy } from '../../support/tcp-proxy.ts'
import {
  createTestLog,
  DATABASES,
  defaults,
  eventually,
  type OpenedDatabase,
  openEmbeddedDatabase,
  openPostgresDatabase,
  rows,
  temporaryFolder,
} from './databases.ts'

describe.each(DATABASES)('$name', ({ open }) => {
  let opened: OpenedDatabase
  let database: Database

  beforeAll(async () => {
    opened = await open()
    database = opened.database
  })
  afterAll(() => opened?.close())

  it('has all tables in the schema `rollcall`, the journal of migrations too', async () => {
    const tables = await rows<{ name: string }>(
      database,
      sql`select table_schema || '.' || table_name as name from information_schema.tables
        where table_schema not in ('pg_catalog', 'information_schema') order by 1`,
    )
    expect(tables.map((table) => table.name)).toEqual([
      'rollcall.database_identity',
      'rollcall.hidden_spans',
      'rollcall.migrations',
      'rollcall.presence_sessions',
      'rollcall.recorder_checkpoint',
      'rollcall.recorder_set_aside',
      'rollcall.revocations',
      'rollcall.users',
    ])
  })

  it('migrates once, however often it is asked', async () => {
    const before = await rows(database, sql`select * from rollcall.migrations`)
    await Promise.all([migrate(database), migrate(database)])
    expect(await rows(database, sql`select * from rollcall.migrations`)).toEqual(before)
  })

  it('gives each of 2,000 concurrent queries its own answer', async () => {
    await rows(database, sql`insert into rollcall.users (id) select 'user-' || n from generate_series(0, 99) as n`)
    const shapes = [
      async (n: number) => {
        const [row] = await rows<{ n: number }>(database, sql`select ${n}::int as n`)
        return row?.n === n
      },
      async (n: number) => {
        const [row] = await rows<{ text: string; twice: number }>(
          database,
          sql`select ${`text ${n}`}::text as text, ${n}::int * 2 as twice`,
        )
        return row?.text === `text ${n}` && row.twice === n * 2
      },
      async (n: number) => {
        const found = await rows<{ id: string }>(
          database,
          sql`select id from rollcall.users where id = ${`user-${n % 100}`}`,
        )
        return found.length === 1 && found[0]?.id === `user-${n % 100}`
      },
      async (n: number) => (await rows(database, sql`select generate_series(1, ${n % 50}::int)`)).length === n % 50,
      async (n: number) => {
        const failure = await rows(database, sql`select 1 / ${n - n}::int`).catch((error: unknown) => error)
        return (failure as { code?: string }).code === '22012'
      },
      async (n: number) => {
        const [row] = await rows<{ version: number }>(
          database,
          sql`update rollcall.users set settings_version = ${n} where id = ${`user-${n % 100}`} returning settings_version as version`,
        )
        return row?.version === n
      },
      async (n: number) => {
        const jsons = await rows<{ n: number }>(
          database,
          sql`select (value->>'n')::int as n from jsonb_array_elements(${JSON.stringify([{ n }, { n: n + 1 }])}::jsonb) as value`,
        )
        return jsons[0]?.n === n && jsons[1]?.n === n + 1
      },
    ]
    const answers = await Promise.all(Array.from({ length: 2000 }, (_, n) => shapes[n % shapes.length]?.(n)))
    expect(answers.filter((isRight) => isRight === true)).toHaveLength(2000)
  })

  it('loses no write of many to one row', async () => {
    await rows(database, sql`insert into rollcall.users (id) values ('counter')`)
    await Promise.all(
      Array.from({ length: 300 }, () =>
        rows(database, sql`update rollcall.users set settings_version = settings_version + 1 where id = 'counter'`),
      ),
    )
    expect(await rows(database, sql`select settings_version as n from rollcall.users where id = 'counter'`)).toEqual([
      { n: 300 },
    ])
  })

  it('says what was wrong with a query, and nothing of what it asked for', async () => {
    const failure = await rows(database, sql`select * from nowhere where name = ${'secret'}`).catch(
      (error: unknown) => error,
    )
    expect(failure).toMatchObject({ name: 'QueryRefusedError', code: '42P01' })
    expect(String((failure as Error).stack)).not.toContain('secret')
  })
})

describe('migrations on Postgres', () => {
  it('stand beside tables of an app, and touch none of them', async () => {
    const { url, drop } = await freshDatabase()
    const app = postgres(url, { max: 1 })
    await app`create table public.users (id bigint primary key, name text)`
    await app`insert into public.users values (1, 'the app’s own')`
    const database = await openDatabase({ ...defaults, DATABASE_URL: url }, createTestLog())
    await migrate(database)
    await rows(database, sql`insert into rollcall.users (id) values ('1')`)
    expect([
      ...(await app`select u.id, p.is_online from public.users u join rollcall.users p on p.id = u.id::text`),
    ]).toEqual([{ id: '1', is_online: false }])
    await app.end()
    await database.close()
    await drop()
  })

  it('are made once by many processes that start at once', async () => {
    const { url, drop } = await freshDatabase()
    const databases = await Promise.all(
      Array.from({ length: 6 }, () => openDatabase({ ...defaults, DATABASE_URL: url }, createTestLog())),
    )
    await Promise.all(databases.map((database) => migrate(database)))
    const count = readdirSync(join(import.meta.dirname, '../../../drizzle')).filter((name) =>
      name.endsWith('.sql'),
    ).length
    expect(await rows(databases[0] as Database, sql`select count(*)::int as count from rollcall.migrations`)).toEqual([
      { count },
    ])
    await Promise.all(databases.map((database) => database.close()))
    await drop()
  })

  it('ask for no rights once they are made', async () => {
    const { database, config, close } = await openPostgresDatabase()
    const url = new URL(String(config.DATABASE_URL))
    const role = `plain_${url.pathname.slice(-8)}`
    await rows(
      database,
      sql.raw(`create role ${role} login; grant usage on schema rollcall to ${role};
      grant select, insert, update, delete on all tables in schema rollcall to ${role}`),
    )
    url.username = role
    const plain = await openDatabase({ ...config, DATABASE_URL: url.href }, createTestLog())
    await migrate(plain)
    await plain.close()
    await rows(database, sql.raw(`drop owned by ${role}; drop role ${role}`))
    await close()
  })
})

describe('the client of a Postgres', () => {
  const closes: (() => Promise<void>)[] = []
  afterEach(async () => {
    for (const close of closes.splice(0).reverse()) await close()
  })

  async function openFar(timeLimitMs: number, settings: { isPreparing?: boolean } = {}) {
    const { url: given, drop } = await freshDatabase()
    const url = new URL(given)
    const proxy = await openTcpProxy({ host: url.hostname, port: Number(url.port) })
    url.port = String(proxy.port)
    url.password = 'top-secret'
    const database = await openDatabase(
      {
        ...defaults,
        DATABASE_URL: url.href,
        DATABASE_TIME_LIMIT: timeLimitMs,
        DATABASE_PREPARE: settings.isPreparing ?? true,
      },
      createTestLog(),
    )
    closes.push(drop, proxy.close, database.close)
    return { database, proxy, near: given }
  }

  const away = { name: 'PresenceError', code: 'UNAVAILABLE', details: { part: 'postgres' } }

  it('stops a query over its time limit at the server too', async () => {
    const { database, near } = await openFar(300)
    const startedAtMs = performance.now()
    await expect(rows(database, sql`select pg_sleep(60), 'the slow one'`)).rejects.toMatchObject(away)
    expect(performance.now() - startedAtMs).toBeLessThan(1500)
    const observer = postgres(near, { max: 1 })
    await eventually(async () => {
      const running = await observer`select 1 from pg_stat_activity
        where datname = current_database() and state = 'active' and query like '%the slow one%' and pid <> pg_backend_pid()`
      return running.length === 0
    })
    await observer.end()
    expect(await rows(database, sql`select 1 as one`)).toEqual([{ one: 1 }])
  })

  it('lets other queries go on while one is stopped', async () => {
    const { database } = await openFar(1000)
    const slow = rows(database, sql`select pg_sleep(60)`).catch((error: unknown) => error)
    for (let n = 0; n < 200; n += 1) expect(await rows(database, sql`select ${n}::int as n`)).toEqual([{ n }])
    expect(await slow).toMatchObject(away)
  })

  it('has each query fail within its time while the server is silent, and goes on when it speaks', async () => {
    const { database, proxy } = await openFar(300)
    await rows(database, sql`select 1`)
    proxy.fallSilent()
    const startedAtMs = performance.now()
    const failures = await Promise.all(
      Array.from({ length: 50 }, () => rows(database, sql`select 1`).catch((error: unknown) => error)),
    )
    expect(performance.now() - startedAtMs).toBeLessThan(3000)
    for (const failure of failures) expect(failure).toMatchObject(away)
    proxy.mend()
    await eventually(async () => (await rows(database, sql`select 1 as one`).catch(() => null)) !== null)
  })

  it('goes on as soon as a silent server speaks, where queries had less time than a connection has to be opened', async () => {
    const { database, proxy } = await openFar(30_000)
    const select = () => database.run(async (drizzle) => [...(await drizzle.execute(sql`select 1 as one`))], 300)
    await select()
    proxy.fallSilent()
    // Connections that were open are given up, and those opened since are not answered.
    const untilMs = performance.now() + 3000
    while (performance.now() < untilMs) await expect(select()).rejects.toMatchObject(away)
    proxy.mend()
    await eventually(() => select().catch(() => null), 3000)
  })

  it('fails at once, everybody in line too, where nobody listens', async () => {
    const { database, proxy } = await openFar(10_000)
    await rows(database, sql`select 1`)
    proxy.refuse()
    const startedAtMs = performance.now()
    const failures = await Promise.all(
      Array.from({ length: 300 }, () => rows(database, sql`select 1`).catch((error: unknown) => error)),
    )
    expect(performance.now() - startedAtMs).toBeLessThan(3000)
    for (const failure of failures) expect(failure).toMatchObject(away)
    proxy.mend()
    await eventually(async () => (await rows(database, sql`select 1 as one`).catch(() => null)) !== null)
  })

  it('gives up a server that closes each connection at once', async () => {
    const { database, proxy } = await openFar(500)
    proxy.refuse()
    const startedAtMs = performance.now()
    await expect(rows(database, sql`select 1`)).rejects.toMatchObject(away)
    expect(performance.now() - startedAtMs).toBeLessThan(1500)
    expect(proxy.connectionCount()).toBeLessThan(100)
  })

  it('gives up a server that welcomes each connection and closes it, and hammers it not', async () => {
    let connectionCount = 0
    const welcome = Buffer.from([0x52, 0, 0, 0, 8, 0, 0, 0, 0]) // AuthenticationOk
    const server = createServer((socket) => {
      connectionCount += 1
      socket.on('error', () => {})
      socket.once('data', () => socket.end(welcome))
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const database = await openDatabase(
      { ...defaults, DATABASE_URL: `postgres://user@127.0.0.1:${port}/x`, DATABASE_TIME_LIMIT: 500 },
      createTestLog(),
    )
    const failures = await Promise.all(
      Array.from({ length: 20 }, () => rows(database, sql`select 1`).catch((error: unknown) => error)),
    )
    for (const failure of failures) expect(failure).toMatchObject(away)
    expect(connectionCount).toBeLessThan(300)
    // Nothing is tried any more when nobody asks.
    const untilMs = performance.now() + 1500
    await eventually(() => performance.now() > untilMs)
    const before = connectionCount
    const stillMs = performance.now() + 500
    await eventually(() => performance.now() > stillMs)
    expect(connectionCount).toBe(before)
    await database.close()
    server.close()
  })

  it('lets many queries at once lose their connections, and goes on', async () => {
    const { database, proxy } = await openFar(2000)
    const running = Array.from({ length: 200 }, (_, n) =>
      rows(database, sql`select pg_sleep(0.05), ${n}::int`).catch((error: unknown) => error),
    )
    await eventually(() => proxy.connectionCount() > 3)
    proxy.cut()
    const answers = await Promise.all(running)
    for (const answer of answers) if (answer instanceof Error) expect(answer).toMatchObject(away)
    const results = await Promise.all(
      Array.from({ length: 50 }, (_, n) => rows<{ n: number }>(database, sql`select ${n}::int as n`)),
    )
    expect(results.map(([row]) => row?.n)).toEqual(Array.from({ length: 50 }, (_, n) => n))
  })

  it('sends again what was not executed, after Postgres ended busy connections', async () => {
    const { database, near } = await openFar(20_000)
    await rows(database, sql`create table notes (text text)`)
    const observer = postgres(near, { max: 1 })
    closes.push(() => observer.end())
    await endBusyConnections(database, observer, sql`select pg_sleep(60), 'the busy one'`)
    // Each of the eight places has the failure of its last query still.
    const answers = await Promise.allSettled(
      Array.from({ length: 50 }, (_, n) => rows(database, sql`insert into notes values (${`after ${n}`})`)),
    )
    expect(answers.filter(({ status }) => status === 'rejected')).toEqual([])
    expect(await rows(database, sql`select count(*)::int as count from notes`)).toEqual([{ count: 50 }])
  })

  it('does not send again what may have been executed', async () => {
    const { database, near } = await openFar(20_000)
    await rows(database, sql`create table notes (text text)`)
    const observer = postgres(near, { max: 1 })
    closes.push(() => observer.end())
    const busy = sql`with slow as (select pg_sleep(60)) insert into notes select 'the busy one' from slow`
    await endBusyConnections(database, observer, busy)
    const sentAgain = await observer`select from pg_stat_activity where query like '%the busy one%' and state = 'active'
      and datname = current_database() and pid <> pg_backend_pid()`
    expect(sentAgain).toHaveLength(0)
    expect(await rows(database, sql`select count(*)::int as count from notes`)).toEqual([{ count: 0 }])
  })

  async function endBusyConnections(database: Database, observer: postgres.Sql, busy: SQL): Promise<void> {
    const running = Array.from({ length: 8 }, () => rows(database, busy).catch((error: unknown) => error))
    const isBusy = observer`datname = current_database() and pid <> pg_backend_pid() and state = 'active'`
    await eventually(async () => (await observer`select from pg_stat_activity where ${isBusy}`).length === 8)
    await observer`select pg_terminate_backend(pid) from pg_stat_activity where ${isBusy}`
    for (const failure of await Promise.all(running)) expect(failure).toMatchObject(away)
  }

  it('never says its address or password', async () => {
    const { database, proxy } = await openFar(300)
    proxy.refuse()
    const failure = await rows(database, sql`select 1`).catch((error: unknown) => error)
    expect(`${(failure as Error).stack} ${JSON.stringify(failure)}`).not.toContain('top-secret')
    const wrong = await openDatabase(
      { ...defaults, DATABASE_URL: 'postgres://user:top-secret%@localhost/x' },
      createTestLog(),
    ).catch((error: unknown) => error)
    expect(wrong).toBeInstanceOf(Error)
    expect(`${(wrong as Error).stack} ${JSON.stringify(wrong)}`).not.toContain('top-secret')
  })

  it('leaves no prepared statement where that is not wanted', async () => {
    const { database } = await openFar(5000, { isPreparing: false })
    for (let n = 0; n < 5; n += 1) await rows(database, sql`select ${n}::int`)
    expect(await rows(database, sql`select count(*)::int as count from pg_prepared_statements`)).toEqual([{ count: 0 }])
  })

  it('sends who asks away once it is closed, and those in line at once', async () => {
    const { database } = await openFar(5000)
    const running = Array.from({ length: 30 }, () =>
      rows(database, sql`select pg_sleep(0.1)`).catch((error: unknown) => error),
    )
    await eventually(async () => true)
    const closing = database.close()
    const answers = await Promise.all(running)
    await closing
    expect(answers.some((answer) => answer instanceof Error)).toBe(true)
    for (const answer of answers) if (answer instanceof Error) expect(answer).toMatchObject(away)
    await expect(rows(database, sql`select 1`)).rejects.toMatchObject(away)
  })
})

describe('the embedded database', () => {
  const folders: string[] = []
  afterEach(() => {
    for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true })
  })

  function newFolder(): string {
    const folder = temporaryFolder()
    folders.push(folder)
    return folder
  }

  const openIn = (folder: string, log = createTestLog()) => openDatabase({ ...defaults, DATA_DIR: folder }, log)

  it('keeps its folder from others, and what was written', async () => {
    const folder = join(newFolder(), 'made', 'at need')
    const first = await openIn(folder)
    await migrate(first)
    await rows(first, sql`insert into rollcall.users (id, name) values ('alice', 'Alice')`)
    expect(statSync(folder).mode & 0o777).toBe(0o700)
    await first.close()
    expect(existsSync(join(folder, 'lock'))).toBe(false)

    const second = await openIn(folder)
    await migrate(second)
    expect(await rows(second, sql`select name from rollcall.users`)).toEqual([{ name: 'Alice' }])
    await second.close()
  })

  it('refuses a second process, and says what to do', async () => {
    const folder = newFolder()
    const first = await openIn(folder)
    const refusal = /process \d+ has the database folder.*Stop it.*DATA_DIR.*DATABASE_URL/s
    await expect(openIn(folder)).rejects.toThrow(refusal)
    const { code, output } = await run(folder, 'open')
    expect(code).toBe(1)
    expect(output).toMatch(refusal)
    expect(await rows(first, sql`select 1 as one`)).toEqual([{ one: 1 }])
    await first.close()
  })

  it('takes the folder over from processes that are gone, or whose id another has by now', async () => {
    const folder = newFolder()
    const us = join(folder, 'lock')
    const first = await openIn(folder)
    const ours = JSON.parse(readFileSync(us, 'utf8'))
    await first.close()
    const gone = spawn(process.execPath, ['-e', ''])
    await once(gone, 'exit')
    for (const stale of [
      { ...ours, pid: gone.pid },
      { ...ours, startedAt: '1' },
    ]) {
      writeFileSync(us, JSON.stringify(stale))
      const next = await openIn(folder)
      expect(JSON.parse(readFileSync(us, 'utf8'))).toMatchObject({ pid: process.pid })
      await next.close()
    }
  })

  it('watches a lock of another container for signs of life', async () => {
    const folder = newFolder()
    mkdirSync(folder, { recursive: true })
    const lock = join(folder, 'lock')
    writeFileSync(lock, JSON.stringify({ pid: 1, startedAt: '1', pidSpace: 'elsewhere' }))
    const touching = setInterval(() => writeFileSync(lock, readFileSync(lock)), 200)
    await expect(openIn(folder)).rejects.toThrow('has the database folder')
    clearInterval(touching)
    const next = await openIn(folder)
    await next.close()
  })

  it('lets only one of many processes have a folder that a dead one left', async () => {
    const folder = newFolder()
    await (await openIn(folder)).close()
    writeFileSync(
      join(folder, 'lock'),
      JSON.stringify({ pid: 4_194_304, startedAt: '1', pidSpace: JSON.parse(await pidSpaceOf(folder)) }),
    )
    const results = await Promise.all(Array.from({ length: 4 }, () => openIn(folder).catch((error: unknown) => error)))
    const opened = results.filter((result) => !(result instanceof Error)) as Database[]
    expect(opened).toHaveLength(1)
    await opened[0]?.close()
  })

  it('leaves a folder alone that holds something else', async () => {
    const folder = newFolder()
    writeFileSync(join(folder, 'thesis.tex'), '')
    const modeBefore = statSync(folder).mode
    await expect(openIn(folder)).rejects.toThrow('DATA_DIR must be a folder of its own')
    expect(statSync(folder).mode).toBe(modeBefore)
  })

  it('takes a folder whose path is too long for a socket', async () => {
    const folder = join(newFolder(), 'x'.repeat(120))
    const database = await openIn(folder)
    expect(await rows(database, sql`select 1 as one`)).toEqual([{ one: 1 }])
    await database.close()
  })

  it('begins again where its first start was interrupted', async () => {
    const folder = newFolder()
    mkdirSync(join(folder, 'postgres', 'base'), { recursive: true })
    writeFileSync(join(folder, 'postgres', 'PG_VERSION'), '18\n')
    const database = await openIn(folder)
    await migrate(database)
    await database.close()
  })

  it('takes one connection, and no second', async () => {
    const folder = newFolder()
    const database = await openIn(folder)
    await rows(database, sql`select 1`)
    const second = connect(join(folder, 'socket'))
    await once(second, 'close')
    expect(await rows(database, sql`select 1 as one`)).toEqual([{ one: 1 }])
    await database.close()
  })

  it('is started again by a query over the time limit, and everything goes on', async () => {
    const { database, log, close } = await openEmbeddedDatabase({ DATABASE_TIME_LIMIT: 5000 })
    await rows(database, sql`insert into rollcall.users (id) values ('alice')`)
    const slow = rows(database, sql`select pg_sleep(60)`).catch((error: unknown) => error)
    const behind = rows(database, sql`select 1`).catch((error: unknown) => error)
    expect(await slow).toMatchObject({ code: 'UNAVAILABLE' })
    expect(await behind).toMatchObject({ code: 'UNAVAILABLE' })
    // It takes its time to start, in which queries may be over their limit too.
    const found = await eventually(() => rows(database, sql`select id from rollcall.users`).catch(() => null))
    expect(found).toEqual([{ id: 'alice' }])
    expect(log.lines.map((line) => line.message)).toContain('The embedded database is killed.')
    await close()
  })

  it('keeps whatever was answered through kill -9', async () => {
    const folder = newFolder()
    for (let round = 0; round < 3; round += 1) {
      const { output } = await run(folder, 'write-and-die')
      const answered = Number(/answered (\d+)\s*$/.exec(output)?.[1])
      expect(answered).toBeGreaterThan(0)
      const database = await openIn(folder)
      const [row] = await rows<{ count: number }>(database, sql`select count(*)::int as count from rollcall.users`)
      expect(row?.count).toBeGreaterThanOrEqual(answered)
      await rows(database, sql`truncate rollcall.users cascade`)
      await database.close()
    }
  })

  it('holds no process once it is closed', async () => {
    const { code, output } = await run(newFolder(), 'open-and-close')
    expect({ code, output }).toEqual({ code: 0, output: expect.stringContaining('closed') })
  })
})

async function pidSpaceOf(folder: string): Promise<string> {
  const database = await openDatabase({ ...defaults, DATA_DIR: folder }, createTestLog())
  const { pidSpace } = JSON.parse(readFileSync(join(folder, 'lock'), 'utf8'))
  await database.close()
  return JSON.stringify(pidSpace)
}

/** A process of its own that does one thing in a folder. */
async function run(folder: string, what: string): Promise<{ code: number | null; output: string }> {
  const child = spawn(process.execPath, ['--import', 'tsx', join(import.meta.dirname, 'in-a-process.ts'), folder, what])
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (output += chunk.toString()))
  const [code] = await once(child, 'close')
  return { code, output }
}
