/**
 * Who hid, or signed out, is shown at no moment: not when Redis comes back with an older copy of its data, and not when
 * what hides them stopped half-way between Postgres and Redis.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { SignJWT } from 'jose'
import postgres from 'postgres'
import { afterEach, describe, expect, it } from 'vitest'
import { cleanupsAfterEach } from '../support/cleanup.ts'
import { type Answer, closeTabs, openTab, post, type SeenChange, type Tab } from '../support/clients.ts'
import { takeSnapshot } from '../support/redis-snapshot.ts'
import { until } from '../support/wait.ts'
import { askOverHttp } from './people.ts'
import { type Spy, spyOn } from './spy.ts'
import { type Node, openWorld, type World, type WorldOptions } from './world.ts'

const SECRET = 'a secret of thirty-two characters'
const ROOM = 'hall'
/** Room for a machine that is slow: a stall is no part of these stories. */
const PATIENT = { NODE_TTL: '4s', RECONNECT_GRACE: '3s', PONG_TIMEOUT: '20s' }
/** NODE_TTL and the grace, one after the other. */
const DEAD_NODE_MS = 4000 + 3000 + 1000
/** With the calm after a gap, HEARTBEAT_INTERVAL and NODE_TTL, and SESSION_TTL as well. */
const ALL_OVER_MS = DEAD_NODE_MS + 1000 + 4000 + 2000

const cleanups = cleanupsAfterEach()
// The hooks that came last go first: no tab is left when its server stops.
afterEach(closeTabs)

async function openStreet(options: WorldOptions = {}): Promise<World> {
  const world = await openWorld({ ...options, settings: { JWT_SECRET: SECRET, ...PATIENT, ...options.settings } })
  cleanups.push(world.close)
  return world
}

function nodeOf({ nodes }: World, index: number): Node {
  return nodes[index % nodes.length] as Node
}

/** A tab that keeps its session, and beats as an app does. */
async function enter(node: Node, userId: string): Promise<Tab> {
  const tab = await openTab({ wsUrl: node.wsUrl() }, userId, {
    rooms: [ROOM],
    retryAttempts: Number.POSITIVE_INFINITY,
  })
  let isOver = false
  cleanups.push(async () => {
    isOver = true
  })
  void (async () => {
    while (!isOver) {
      await Promise.race([tab.ask('mutation { heartbeat { expiresAt } }').catch(() => {}), sleep(1000)])
      await sleep(300)
    }
  })()
  return tab
}

async function ask(node: Node, userId: string, query: string): Promise<Answer> {
  return (await askOverHttp(node, userId, query)) ?? {}
}

const hide = (node: Node, userId: string): Promise<Answer> =>
  ask(node, userId, 'mutation { setVisibility(visibility: NOBODY) { viewer { visibility user { isOnline } } } }')

const HIDDEN = { data: { setVisibility: { viewer: { visibility: 'NOBODY', user: { isOnline: false } } } } }

async function listed(node: Node): Promise<readonly string[] | null> {
  const { data } = await ask(node, 'reader', '{ onlineUsers(first: 1000) { nodes { id } } }')
  return data?.onlineUsers.nodes.map(({ id }: { id: string }) => id) ?? null
}

async function untilListed({ nodes }: World, ids: readonly string[], withinMs = 20_000): Promise<void> {
  const expected = [...ids].sort().join()
  await until(
    async () => {
      const lists = await Promise.all(nodes.filter((node) => node.isAlive()).map(listed))
      return lists.every((list) => list?.join() === expected)
    },
    { withinMs, everyMs: 50, what: `the list ${expected}` },
  )
}

/** Follows one user's changes on a node. */
async function follow(node: Node, userId: string): Promise<SeenChange[]> {
  const reader = await openTab({ wsUrl: node.wsUrl() }, 'follower', { observer: true })
  const seen = reader.follow(`(userIds: ["${userId}"])`)
  await reader.ask('{ position }')
  return seen
}

async function expectOwnTruth(node: Node, userId: string): Promise<void> {
  const viewer = await until(
    async () => (await ask(node, userId, '{ viewer { visibility isOnline status user { isOnline } } }')).data?.viewer,
    { what: `the viewer of ${userId}` },
  )
  expect([userId, viewer]).toEqual([
    userId,
    { visibility: 'NOBODY', isOnline: true, status: 'ONLINE', user: { isOnline: false } },
  ])
}

function openSql({ databaseUrl }: World) {
  const sql = postgres(databaseUrl, { max: 2, onnotice: () => {} })
  cleanups.push(() => sql.end())
  return sql
}

const rowOf = async (sql: postgres.Sql, userId: string) =>
  (
    await sql`select visibility, settings_version, is_online, last_active, last_seen from rollcall.users where id = ${userId}`
  )[0]

/** Until the column has what everyone saw last: it lags. */
async function untilLevel(sql: postgres.Sql, node: Node, userId: string): Promise<void> {
  await until(
    async () => {
      const { data } = await ask(node, 'reader', `{ user(id: "${userId}") { lastActive lastSeen } }`)
      const row = await rowOf(sql, userId)
      const moments = [row?.last_active, row?.last_seen].map((moment) => moment?.toISOString())
      return moments.join() === [data?.user?.lastActive, data?.user?.lastSeen].join()
    },
    // LAST_ACTIVE_FLUSH, and the recorder may have to find its way back to the database first.
    { what: 'the last activity and last_seen in the columns', withinMs: 30_000 },
  )
}

/** Stopped by the test, by `expectSecret`, or after it. */
function spy(world: World, userIds: readonly string[]): Spy {
  const started = spyOn(world, userIds)
  cleanups.push(started.stop)
  return started
}

async function expectSecret(spy: Spy): Promise<void> {
  await until(() => spy.readCount() > 20, { what: 'enough of what the spy reads' })
  await spy.stop()
  expect(spy.problems).toEqual([])
}

describe('Redis comes back with an older copy of its data', () => {
  const STAYING = ['staying-0', 'staying-1', 'staying-2']

  /** All of them are there and seen, and then Redis is copied. */
  async function copied(options: WorldOptions = {}) {
    const world = await openStreet(options)
    const { redis } = world
    for (const [index, id] of STAYING.entries()) await enter(nodeOf(world, index), id)
    await enter(nodeOf(world, 0), 'hides')
    await enter(nodeOf(world, 1), 'hides-again')
    const offline = await openTab({ wsUrl: nodeOf(world, 2).wsUrl() }, 'goes-offline', { rooms: [ROOM] })
    const closing = await openTab({ wsUrl: nodeOf(world, 1).wsUrl() }, 'closes', { rooms: [ROOM] })
    await openTab({ wsUrl: nodeOf(world, 0).wsUrl() }, 'is-disconnected', { rooms: [ROOM] })
    const beat = `mutation { heartbeat(rooms: ["${ROOM}"]) { expiresAt } }`
    await ask(nodeOf(world, 1), 'program', beat)
    const goes = ['goes-offline', 'closes', 'is-disconnected', 'program']
    await untilListed(world, ['hides', 'hides-again', ...goes, ...STAYING])
    const since = await sinceOf(nodeOf(world, 0))
    const snapshot = await takeSnapshot(redis)

    // What the copy lacks.
    expect(await hide(nodeOf(world, 0), 'hides')).toMatchObject(HIDDEN)
    for (const visibility of ['NOBODY', 'EVERYONE', 'NOBODY']) {
      await ask(
        nodeOf(world, 2),
        'hides-again',
        `mutation { setVisibility(visibility: ${visibility}) { viewer { id } } }`,
      )
    }
    expect((await offline.ask('mutation { goOffline { viewer { isOnline } } }')).data?.goOffline).toEqual({
      viewer: { isOnline: false },
    })
    await closing.close()
    const service = await new SignJWT({ sub: 'backend', presence: { role: 'service' } })
      .setProtectedHeader({ alg: 'HS256' })
      .setExpirationTime('1h')
      .setIssuedAt()
      .sign(new TextEncoder().encode(SECRET))
    const node = { url: nodeOf(world, 0).url() }
    const dismissed = await post(
      node,
      service,
      'mutation { disconnectUser(userId: "is-disconnected") { sessionCount } }',
    )
    expect(dismissed.data?.disconnectUser).toEqual({ sessionCount: 1 })
    await ask(nodeOf(world, 0), 'program', 'mutation { goOffline { viewer { id } } }')
    await untilListed(world, STAYING)
    const sql = openSql(world)
    const gone = ['hides', 'hides-again', ...goes]
    await until(
      async () => {
        const [open] = await sql`select count(*)::int as count from rollcall.presence_sessions
          where user_id in ${sql(goes)} and ended_at is null`
        const [shown] =
          await sql`select count(*)::int as count from rollcall.users where id in ${sql(gone)} and is_online`
        return open?.count === 0 && shown?.count === 0
      },
      { what: 'the records in the database' },
    )
    for (const id of gone) await untilLevel(sql, nodeOf(world, 0), id)
    const frozen =
      await sql`select id, last_active::text, last_seen::text from rollcall.users where id in ${sql(gone)} order by id`
    return { world, snapshot, since, gone, sql, frozen }
  }

  async function sinceOf(node: Node): Promise<unknown> {
    const ids = JSON.stringify(STAYING)
    return (await ask(node, 'reader', `{ users(ids: ${ids}) { id onlineSince } }`)).data?.users
  }

  it('who hid or left since is listed at no moment, and who stayed is as before', { timeout: 150_000 }, async () => {
    const { world, snapshot, since, gone, sql, frozen } = await copied()
    const theirs = spy(world, gone)
    await until(() => theirs.readCount() > 20, { what: 'the first reads' })
    const changes = await Promise.all(STAYING.map((id, index) => follow(nodeOf(world, index), id)))

    await snapshot.goBack()
    await untilListed(world, STAYING)
    expect(await sinceOf(nodeOf(world, 1))).toEqual(since)
    await sleep(ALL_OVER_MS)
    await untilListed(world, STAYING)
    await expectSecret(theirs)
    expect(changes.flat()).toEqual([])
    await expectOwnTruth(nodeOf(world, 1), 'hides')
    await expectOwnTruth(nodeOf(world, 2), 'hides-again')
    const rows =
      await sql`select id, last_active::text, last_seen::text from rollcall.users where id in ${sql(gone)} order by id`
    expect([...rows]).toEqual([...frozen])
  })

  it('and Postgres is away by then: nobody is listed before it answers', { timeout: 150_000 }, async () => {
    const { world, snapshot, since, gone } = await copied({ isDatabaseWired: true })
    const theirs = spy(world, gone)
    await until(() => theirs.readCount() > 20, { what: 'the first reads' })
    world.databaseWire?.refuse()
    await snapshot.goBack()
    // The time of announcements is over, and the lists can be read.
    await untilListed(world, [])
    for (const id of ['hides', 'staying-0']) {
      const answer = await ask(nodeOf(world, 0), id, '{ viewer { visibility } }')
      expect(answer.errors?.map(({ extensions }) => extensions)).toMatchObject([
        { code: 'UNAVAILABLE', part: 'postgres' },
      ])
    }
    world.databaseWire?.mend()
    await untilListed(world, STAYING)
    expect(await sinceOf(nodeOf(world, 1))).toEqual(since)
    await sleep(2000)
    await untilListed(world, STAYING)
    await expectSecret(theirs)
    await expectOwnTruth(nodeOf(world, 1), 'hides')
  })
})

describe('a hide that stops half-way', () => {
  /** The statement that hides the user waits in Postgres, after the live store was asked, until `go`. */
  async function stopInPostgres(sql: postgres.Sql, userId: string) {
    let go = (): void => {}
    const goes = new Promise<void>((resolve) => {
      go = resolve
    })
    let locked = (): void => {}
    const isLocked = new Promise<void>((resolve) => {
      locked = resolve
    })
    const lock = sql.begin(async (transaction) => {
      await transaction`select from rollcall.users where id = ${userId} for update`
      locked()
      await goes
    })
    await isLocked
    return {
      untilWaiting: () =>
        until(
          async () =>
            // A batch of records may wait for the row as well.
            (
              await sql`select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()
                and query ~ '^\\s*update "rollcall"."users"'`
            ).length > 0,
          { what: 'the statement that waits' },
        ),
      async release() {
        go()
        await lock
      },
    }
  }

  /** Alice is here, and followed there. Her tab sends no heartbeat: it only answers pings. */
  async function withAlice(options: WorldOptions = {}) {
    const world = await openStreet({ ...options, nodeCount: 2 })
    const [here, there] = [nodeOf(world, 0), nodeOf(world, 1)]
    await openTab({ wsUrl: here.wsUrl() }, 'alice', { rooms: [ROOM] })
    await untilListed(world, ['alice'])
    return { world, here, there, sql: openSql(world), seen: await follow(there, 'alice') }
  }

  /** What was half done is finished, and everyone sees one LEAVE and no more. */
  async function expectHidden({ world, here, there, sql, seen }: Awaited<ReturnType<typeof withAlice>>): Promise<void> {
    await until(() => seen.length > 0, { withinMs: 10_000, what: 'the LEAVE' })
    await untilLevel(sql, there, 'alice')
    const alices = spy(world, ['alice'])
    await expectOwnTruth(here, 'alice')
    await sleep(1000)
    await expectSecret(alices)
    expect(seen.map(({ kind }) => kind)).toEqual(['LEAVE'])
  }

  it('between the row and Redis is finished when both are there, without a word of the user', {
    timeout: 120_000,
  }, async () => {
    const street = await withAlice()
    const { here, sql, seen } = street

    const stop = await stopInPostgres(sql, 'alice')
    const answer = hide(here, 'alice')
    await stop.untilWaiting()
    here.wire.refuse()
    await stop.release()
    expect((await answer).errors?.map(({ extensions }) => extensions.code)).toEqual(['UNAVAILABLE'])
    expect(await rowOf(sql, 'alice')).toMatchObject({ visibility: 'NOBODY', is_online: false })
    expect(seen).toEqual([])

    here.wire.mend()
    await expectHidden(street)
  })

  it('is finished by a second tab on another node, where its process died', { timeout: 120_000 }, async () => {
    const { world, here, there, sql, seen } = await withAlice()

    const stop = await stopInPostgres(sql, 'alice')
    void hide(here, 'alice')
    await stop.untilWaiting()
    here.wire.refuse()
    await stop.release()
    await until(async () => (await rowOf(sql, 'alice'))?.visibility === 'NOBODY', { what: 'the row' })
    await here.kill()

    await openTab({ wsUrl: there.wsUrl() }, 'alice', { rooms: [ROOM] })
    await until(() => seen.length > 0, { withinMs: 15_000, what: 'the LEAVE' })
    await untilLevel(sql, there, 'alice')
    const alices = spy(world, ['alice'])
    await expectOwnTruth(there, 'alice')
    await sleep(DEAD_NODE_MS)
    await expectSecret(alices)
    expect(seen.map(({ kind }) => kind)).toEqual(['LEAVE'])
    await expectOwnTruth(there, 'alice')
  })

  it('because the answer of Postgres was lost is finished when it answers', { timeout: 120_000 }, async () => {
    const street = await withAlice({ isDatabaseWired: true, settings: { DATABASE_TIME_LIMIT: '2s' } })
    const { world, here, sql, seen } = street

    const stop = await stopInPostgres(sql, 'alice')
    const answer = hide(here, 'alice')
    await stop.untilWaiting()
    world.databaseWire?.loseAnswers()
    await stop.release()
    expect((await answer).errors?.map(({ extensions }) => extensions)).toMatchObject([
      { code: 'UNAVAILABLE', part: 'postgres' },
    ])
    expect(await rowOf(sql, 'alice')).toMatchObject({ visibility: 'NOBODY', is_online: false })
    expect(seen).toEqual([])
    world.databaseWire?.mend()
    await expectHidden(street)
  })

  it('is not undone by what looks after an earlier one', { timeout: 120_000 }, async () => {
    const { world, here, there, sql } = await withAlice()
    // Half done, on one node; and on the other one, whole, before the first is looked after.
    const stop = await stopInPostgres(sql, 'alice')
    const first = ask(here, 'alice', 'mutation { setStatus(status: BUSY) { viewer { id } } }')
    await stop.untilWaiting()
    here.wire.refuse()
    await stop.release()
    expect((await first).errors?.[0]?.extensions.code).toBe('UNAVAILABLE')
    expect(await hide(there, 'alice')).toMatchObject(HIDDEN)
    await untilLevel(sql, there, 'alice')
    const alices = spy(world, ['alice'])
    here.wire.mend()
    await sleep(3000)
    await expectSecret(alices)
    const { data } = await ask(here, 'alice', '{ viewer { visibility status statusChoice } }')
    expect(data?.viewer).toEqual({ visibility: 'NOBODY', status: 'BUSY', statusChoice: 'BUSY' })
  })
})
