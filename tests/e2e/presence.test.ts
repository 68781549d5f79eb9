import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { closeTabs, onlineIds, openTab, post, type SeenChange, settled, type Tab } from '../support/clients.ts'
import { DATABASES, startServer, type TestData, type TestServer } from '../support/server.ts'
import { until } from '../support/wait.ts'

/** As QUICK has them in ms, with what a busy machine adds: a bound from above is no bound on the machine. */
const CLOSE_GRACE_MS = 400
const RECONNECT_GRACE_MS = 1500
const SWEEP_MS = 50
const SLACK_MS = 1500

describe.each(DATABASES)('presence on $name', ({ prepare }) => {
  let data: TestData
  let server: TestServer
  let watcher: Tab
  let changes: SeenChange[]

  beforeAll(async () => {
    data = await prepare()
    server = await startServer(data.settings)
  })
  afterEach(closeTabs)
  afterAll(async () => {
    await server.stop()
    await data.drop()
  })

  /** Somebody whom no other test knows, and a watcher who sees only them. */
  async function watched(): Promise<{ userId: string; mine: () => SeenChange[] }> {
    const userId = `user-${randomUUID()}`
    watcher = await openTab(server, `watcher-${randomUUID()}`, { observer: true })
    changes = watcher.follow(`(userIds: ["${userId}"])`)
    await settled(watcher)
    return { userId, mine: () => changes }
  }

  function kinds(seen: readonly SeenChange[]): string[] {
    return seen.map(({ kind }) => kind)
  }

  it('tells a JOIN when a tab opens, with the user as everyone sees them', async () => {
    const { userId, mine } = await watched()
    const tab = await openTab(server, userId)
    const [join] = await until(() => mine().length === 1 && mine())
    expect(join).toMatchObject({
      kind: 'JOIN',
      previousStatus: 'OFFLINE',
      room: null,
      user: { id: userId, status: 'ONLINE', isOnline: true },
    })
    expect(join?.user.onlineSince).toBe(join?.at)
    expect(tab.acknowledged()).toEqual({
      sessionId: tab.sessionId,
      heartbeatIntervalMs: 1000,
      resumed: false,
      rooms: [],
    })
  })

  it('tells nothing when one of two tabs closes, also when it was the active one, and a LEAVE when the last one does', async () => {
    const { userId, mine } = await watched()
    const active = await openTab(server, userId)
    const other = await openTab(server, userId, { active: false })
    await active.ask('mutation { heartbeat { expiresAt } }')
    await active.close()
    await until(
      async () => {
        const { data: answer } = await other.ask('{ viewer { sessions { id } } }')
        return answer?.viewer.sessions.length === 1
      },
      { what: 'the end of the closed tab' },
    )
    expect(kinds(mine())).toEqual(['JOIN'])

    const closedAtMs = performance.now()
    await other.close()
    await until(() => mine().length === 2, { what: 'the LEAVE' })
    expect(kinds(mine())).toEqual(['JOIN', 'LEAVE'])
    const tookMs = Number(mine()[1]?.receivedAtMs) - closedAtMs
    expect(tookMs).toBeGreaterThanOrEqual(CLOSE_GRACE_MS)
    expect(tookMs).toBeLessThan(CLOSE_GRACE_MS + 2 * SWEEP_MS + SLACK_MS)
  })

  it('keeps a user whose connection was reset for RECONNECT_GRACE, and not longer', async () => {
    const { userId, mine } = await watched()
    const tab = await openTab(server, userId)
    const resetAtMs = performance.now()
    tab.reset()
    await until(() => mine().length === 2, { what: 'the LEAVE' })
    const tookMs = Number(mine()[1]?.receivedAtMs) - resetAtMs
    expect(kinds(mine())).toEqual(['JOIN', 'LEAVE'])
    expect(tookMs).toBeGreaterThanOrEqual(RECONNECT_GRACE_MS - 5)
    expect(tookMs).toBeLessThan(RECONNECT_GRACE_MS + 2 * SWEEP_MS + SLACK_MS)
  })

  it('counts a silent peer from its last proof of life', async () => {
    const { userId, mine } = await watched()
    const tab = await openTab(server, userId)
    const silentFromMs = performance.now()
    tab.fallSilent()
    await until(() => mine().length === 2, { what: 'the LEAVE' })
    const tookMs = Number(mine()[1]?.receivedAtMs) - silentFromMs
    // PING_INTERVAL + PONG_TIMEOUT is longer here than RECONNECT_GRACE, which had begun with the silence.
    expect(tookMs).toBeGreaterThanOrEqual(RECONNECT_GRACE_MS - 5)
    expect(tookMs).toBeLessThan(2000 + 2 * SWEEP_MS + 250 + SLACK_MS)
  })

  it('shows nothing of a reload', async () => {
    const { userId, mine } = await watched()
    const sessionId = randomUUID()
    const before = await openTab(server, userId, { sessionId })
    await until(() => mine().length === 1)
    await before.close()
    const after = await openTab(server, userId, { sessionId })
    // Long enough for every grace of the tab before to pass.
    await until(async () => {
      const { data: answer } = await after.ask('{ viewer { sessions { id isAttached } } }')
      return answer?.viewer.sessions.length === 1 && answer.viewer.sessions[0].isAttached
    })
    await passGraces(userId)
    expect(kinds(mine())).toEqual(['JOIN'])
  })

  /** Another user comes and goes: by then whatever began before has ended as well. */
  async function passGraces(userId: string): Promise<void> {
    const other = `${userId}-after`
    const tab = await openTab(server, other)
    tab.reset()
    await until(async () => !(await onlineIds(server, 'dev:reader')).includes(other), { what: 'the end of the graces' })
  }

  it('makes a duplicated tab a session of its own, whichever of the two closes', async () => {
    for (const closesFirst of ['replaced', 'newest'] as const) {
      const { userId, mine } = await watched()
      const sessionId = randomUUID()
      const replaced = await openTab(server, userId, { sessionId, rooms: ['lobby'], device: 'laptop' })
      const newest = await openTab(server, userId, { sessionId, rooms: ['lobby'], device: 'laptop' })
      const sessions = await until(
        async () => {
          const { data: answer } = await newest.ask('{ viewer { sessions { id rooms device isAttached isCurrent } } }')
          return answer?.viewer.sessions.length === 2 && answer.viewer.sessions
        },
        { what: 'the session of the duplicated tab' },
      )
      expect(sessions).toContainEqual({
        id: sessionId,
        rooms: ['lobby'],
        device: 'laptop',
        isAttached: true,
        isCurrent: true,
      })
      expect(
        sessions.every(
          (session: { isAttached: boolean; rooms: string[] }) => session.isAttached && session.rooms[0] === 'lobby',
        ),
      ).toBe(true)

      const [closing, staying] = closesFirst === 'replaced' ? [replaced, newest] : [newest, replaced]
      await closing.close()
      await until(async () => {
        const { data: answer } = await staying.ask('{ viewer { sessions { id } } }')
        return answer?.viewer.sessions.length === 1
      })
      await staying.ask('mutation { heartbeat { expiresAt } }')
      await passGraces(userId)
      expect(kinds(mine())).toEqual(['JOIN'])
      await staying.close()
      await until(() => mine().length === 2)
      expect(kinds(mine())).toEqual(['JOIN', 'LEAVE'])
    }
  })

  it('leaves no ghost of a replaced socket that is silent', async () => {
    const { userId, mine } = await watched()
    const sessionId = randomUUID()
    const silent = await openTab(server, userId, { sessionId })
    silent.fallSilent()
    const newest = await openTab(server, userId, { sessionId })
    await newest.close()
    await until(() => mine().length === 2, { what: 'the LEAVE' })
    await passGraces(userId)
    expect(kinds(mine())).toEqual(['JOIN', 'LEAVE'])
    const { data: answer } = await post(server, `dev:${userId}`, '{ viewer { isOnline sessions { id } } }')
    expect(answer?.viewer).toEqual({ isOnline: false, sessions: [] })
  })

  it('answers a heartbeat without arguments over HTTP, lists its user, and loses them after SESSION_TTL', async () => {
    const { userId, mine } = await watched()
    const { data: answer } = await post(
      server,
      `dev:${userId}`,
      'mutation { heartbeat { expiresAt nextHeartbeatInMs session { id } } }',
    )
    expect(answer?.heartbeat).toMatchObject({ nextHeartbeatInMs: 1000, session: { id: 'default' } })
    expect(Date.parse(answer?.heartbeat.expiresAt) - Date.now()).toBeGreaterThan(500)
    expect(await onlineIds(server, 'dev:reader')).toContain(userId)
    await until(() => mine().length === 2, { what: 'the LEAVE' })
    const [join, leave] = mine()
    expect(Date.parse(String(leave?.at)) - Date.parse(String(join?.at))).toBeGreaterThanOrEqual(2000)
    expect(await onlineIds(server, 'dev:reader')).not.toContain(userId)
  })

  it('hides with a LEAVE and comes back with a JOIN of that moment', async () => {
    const { userId, mine } = await watched()
    const tab = await openTab(server, userId)
    await tab.ask('mutation { setVisibility(visibility: NOBODY) { viewer { isOnline } } }')
    await until(() => mine().length === 2)
    const { data: hidden } = await post(
      server,
      'dev:reader',
      `{ user(id: "${userId}") { isOnline status onlineSince lastActive lastSeen } }`,
    )
    expect(hidden?.user).toMatchObject({ isOnline: false, status: 'OFFLINE', onlineSince: null })
    expect(hidden?.user.lastSeen).toBe(mine()[1]?.at)

    await tab.ask('mutation { heartbeat { expiresAt } }')
    const { data: later } = await post(server, 'dev:reader', `{ user(id: "${userId}") { lastActive lastSeen } }`)
    expect(later?.user.lastActive).toBe(hidden?.user.lastActive)
    expect(later?.user.lastSeen).toBe(hidden?.user.lastSeen)
    const { data: own } = await tab.ask('{ viewer { isOnline status visibility user { isOnline } } }')
    expect(own?.viewer).toEqual({ isOnline: true, status: 'ONLINE', visibility: 'NOBODY', user: { isOnline: false } })

    await tab.ask('mutation { setVisibility(visibility: EVERYONE) { viewer { isOnline } } }')
    await until(() => mine().length === 3)
    const [, leave, join] = mine()
    expect(kinds(mine())).toEqual(['JOIN', 'LEAVE', 'JOIN'])
    expect(leave?.user.onlineSince).toBeNull()
    expect(join?.user).toMatchObject({ onlineSince: join?.at, lastActive: join?.at, lastSeen: null })
  })

  it('shows a chosen status and its message as UPDATEs, and clears the message with null', async () => {
    const { userId, mine } = await watched()
    const tab = await openTab(server, userId)
    await tab.ask('mutation { setStatus(status: BUSY, message: "In a meeting") { viewer { status } } }')
    await tab.ask('mutation { setStatus(status: AWAY) { viewer { status } } }')
    await tab.ask('mutation { setStatus(status: AUTOMATIC, message: null) { viewer { status } } }')
    await until(() => mine().length === 4)
    expect(
      mine().map(({ kind, previousStatus, user }) => [kind, previousStatus, user.status, user.statusMessage]),
    ).toEqual([
      ['JOIN', 'OFFLINE', 'ONLINE', null],
      ['UPDATE', 'ONLINE', 'BUSY', 'In a meeting'],
      ['UPDATE', 'BUSY', 'AWAY', 'In a meeting'],
      ['UPDATE', 'AWAY', 'ONLINE', null],
    ])
  })

  it('goes offline at once, stays as an observer, and starts again with an active heartbeat only', async () => {
    const { userId, mine } = await watched()
    const tab = await openTab(server, userId)
    await tab.ask('mutation { goOffline { viewer { isOnline } } }')
    await until(() => mine().length === 2)
    const { data: idle } = await tab.ask(
      'mutation { heartbeat(active: false) { expiresAt session { id } viewer { isOnline } } }',
    )
    expect(idle?.heartbeat).toEqual({ expiresAt: null, session: null, viewer: { isOnline: false } })
    const { data: active } = await tab.ask('mutation { heartbeat { session { id isAttached isCurrent } } }')
    expect(active?.heartbeat.session).toEqual({ id: tab.sessionId, isAttached: true, isCurrent: true })
    await until(() => mine().length === 3)
    expect(kinds(mine())).toEqual(['JOIN', 'LEAVE', 'JOIN'])
  })

  it('ends all sessions with goOffline(everywhere: true)', async () => {
    const { userId, mine } = await watched()
    const one = await openTab(server, userId)
    await openTab(server, userId)
    const { data: answer } = await one.ask('mutation { goOffline(everywhere: true) { viewer { sessions { id } } } }')
    expect(answer?.goOffline.viewer.sessions).toEqual([])
    await until(() => mine().length === 2)
    expect(kinds(mine())).toEqual(['JOIN', 'LEAVE'])
  })

  it("tells entering and leaving a room as that room's JOIN and LEAVE only", async () => {
    const { userId, mine } = await watched()
    const room = `room-${randomUUID()}`
    const inRoom = watcher.follow(`(room: "${room}")`)
    await settled(watcher)
    const tab = await openTab(server, userId)
    await tab.ask(`mutation { joinRoom(room: "${room}") { session { rooms } } }`)
    expect(await onlineIds(server, 'dev:reader', room)).toEqual([userId])
    await tab.ask(`mutation { leaveRoom(room: "${room}") { session { rooms } } }`)
    await until(() => inRoom.length === 2)
    expect(inRoom.map(({ kind, room: named, previousStatus }) => [kind, named, previousStatus])).toEqual([
      ['JOIN', room, 'ONLINE'],
      ['LEAVE', room, 'ONLINE'],
    ])
    expect(kinds(mine())).toEqual(['JOIN'])
  })

  it('tells every tab of the user what changed in their own view, hidden or not, and never others', async () => {
    const userId = `user-${randomUUID()}`
    const one = await openTab(server, userId)
    const seen: unknown[] = []
    one.client.subscribe(
      { query: 'subscription { viewerChanged { visibility statusChoice } }' },
      { next: ({ data: answer }) => void seen.push(answer?.viewerChanged), error: () => {}, complete: () => {} },
    )
    await settled(one)
    await post(server, `dev:${userId}`, 'mutation { setVisibility(visibility: NOBODY) { viewer { id } } }')
    await until(() => seen.some((view) => (view as { visibility: string }).visibility === 'NOBODY'))
    await post(server, `dev:${userId}`, 'mutation { setStatus(status: BUSY) { viewer { id } } }')
    await until(() => seen.some((view) => (view as { statusChoice: string }).statusChoice === 'BUSY'))
  })

  it('tells the count at once and then when it changes, and a position that all has been written up to', async () => {
    const room = `room-${randomUUID()}`
    const counts: { count: number; room: string }[] = []
    const positions: string[] = []
    const tab = await openTab(server, `watcher-${randomUUID()}`, { observer: true })
    tab.client.subscribe<{ onlineCountChanged: { count: number; room: string } }>(
      { query: `subscription { onlineCountChanged(room: "${room}") { room count } }` },
      {
        next: ({ data: answer }) => void (answer && counts.push(answer.onlineCountChanged)),
        error: () => {},
        complete: () => {},
      },
    )
    tab.client.subscribe<{ positionAdvanced: string }>(
      { query: 'subscription { positionAdvanced }' },
      {
        next: ({ data: answer }) => void (answer && positions.push(answer.positionAdvanced)),
        error: () => {},
        complete: () => {},
      },
    )
    await until(() => counts.length === 1 && positions.length === 1)
    expect(counts[0]).toEqual({ room, count: 0 })
    await openTab(server, `user-${randomUUID()}`, { rooms: [room] })
    await until(() => counts.length === 2)
    expect(counts[1]).toEqual({ room, count: 1 })
  })
})
