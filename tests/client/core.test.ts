import { randomUUID } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import type { RollcallError } from '../../client/src/index.ts'
import { onlineIds, openTab, post } from '../support/clients.ts'
import { startServer } from '../support/server.ts'
import { until } from '../support/wait.ts'
import { presenceOf, read, serverForTests, untilLive } from './kit.ts'

describe('the client kit', () => {
  // On a busy machine a page takes a second to be loaded again.
  const at = serverForTests({ SESSION_TTL: '60s', CLOSE_GRACE: '3s' })

  it('makes its person online, also where nothing is asked of it', async () => {
    presenceOf(at.server, 'alice')
    await until(async () => (await onlineIds(at.server, 'dev:reader')).includes('alice'))
  })

  it('shows who is online, and follows who comes and goes', async () => {
    const presence = presenceOf(at.server, 'anna')
    const list = read(presence.onlineUsers())
    expect(list.now()).toMatchObject({ state: 'loading', ids: [], users: [] })
    await untilLive(presence.onlineUsers())
    const bob = await openTab(at.server, 'bob')
    await until(() => list.now().ids.includes('bob'))
    expect(list.now().users.find(({ id }) => id === 'bob')).toMatchObject({ name: 'bob', status: 'ONLINE' })
    await bob.close()
    await until(() => !list.now().ids.includes('bob'))
    expect(list.said.slice(1).every(({ state }) => state === 'loading' || state === 'live')).toBe(true)
  })

  it('keeps the list of ids and the other rows as they are when one user changes', async () => {
    const presence = presenceOf(at.server, 'ada')
    presence.joinRoom('office')
    await openTab(at.server, 'ben', { rooms: ['office'] })
    // In a room of their own: the people of other tests leave while this one runs.
    const users = presence.onlineUsers({ room: 'office' })
    const list = read(users)
    await until(() => list.now().state === 'live' && list.now().ids.length === 2)
    const before = list.now()
    const ids = users.ids.getSnapshot()
    await post(at.server, 'dev:ben', 'mutation { setStatus(status: BUSY) { viewer { id } } }')
    await until(() => list.now().users.find(({ id }) => id === 'ben')?.status === 'BUSY')
    expect(list.now().ids).toBe(before.ids)
    expect(users.ids.getSnapshot().ids).toBe(ids.ids)
    expect(list.now().users.find(({ id }) => id === 'ada')).toBe(before.users.find(({ id }) => id === 'ada'))
  })

  it('watches users by their ids, seen before or not', async () => {
    const presence = presenceOf(at.server, 'clara')
    const dora = read(presence.user('dora'))
    expect(dora.now()).toEqual({ state: 'loading', since: null, error: null, user: null })
    await until(() => dora.now().state === 'live')
    expect(dora.now().user).toBeNull()
    const tab = await openTab(at.server, 'dora')
    await until(() => dora.now().user?.isOnline)
    await tab.close()
    await until(() => dora.now().user?.isOnline === false)
  })

  it('counts, in a room and everywhere', async () => {
    const presence = presenceOf(at.server, 'emma')
    const inRoom = read(presence.count({ room: 'lounge' }))
    await until(() => inRoom.now().state === 'live')
    expect(inRoom.now().count).toBe(0)
    const leave = presence.joinRoom('lounge')
    await until(() => inRoom.now().count === 1)
    leave()
    await until(() => inRoom.now().count === 0)
  })

  it('is in its rooms again after a page was loaded again, and after its session was over', async () => {
    const others = presenceOf(at.server, 'ole')
    const room = read(others.onlineUsers({ room: 'attic' }))
    const sessionId = randomUUID()
    const first = presenceOf(at.server, 'olga', { sessionId })
    first.joinRoom('attic')
    await until(() => room.now().ids.includes('olga'))
    const seen = room.said.length
    first.close()
    const second = presenceOf(at.server, 'olga', { sessionId })
    // The person does something before the page has joined its rooms.
    second.noticeActivity()
    await until(() => second.link.getSnapshot().state === 'open')
    second.noticeActivity()
    await second.setStatus('AUTOMATIC')
    second.joinRoom('attic')
    await second.setStatus('AUTOMATIC')
    expect(room.said.slice(seen).every(({ ids }) => ids.includes('olga'))).toBe(true)

    await post(at.server, 'dev:olga', `mutation { goOffline(sessionId: "${sessionId}") { viewer { id } } }`)
    await until(() => !room.now().ids.includes('olga'))
    second.noticeActivity()
    await until(() => room.now().ids.includes('olga'))
  })

  it('comes back when the server says, and not before', async () => {
    const strict = await startServer({ USER_WORK_BURST: '1100', USER_WORK_RATE: '100' })
    try {
      const tabs = Array.from({ length: 3 }, () => presenceOf(strict, 'nora'))
      const waiting = await until(() => tabs.find(({ link }) => link.getSnapshot().state === 'waiting'))
      const link = waiting.link.getSnapshot()
      if (link.state !== 'waiting') throw new Error('Nobody was refused.')
      expect(link.error).toMatchObject({ code: 'RATE_LIMITED', retryAfterMs: expect.any(Number) })
      const { retryAfterMs } = link.error as RollcallError
      expect(retryAfterMs).toBeGreaterThan(100)
      expect(link.retryInMs).toBeGreaterThanOrEqual(Number(retryAfterMs))
    } finally {
      await strict.stop()
    }
  })

  it('says why a room is refused, and goes on', async () => {
    const strict = await startServer({ DEFAULT_ROOMS: 'open:*' })
    try {
      const presence = presenceOf(strict, 'otto')
      presence.joinRoom('secret')
      presence.joinRoom('open:1')
      const secret = read(presence.onlineUsers({ room: 'secret' }))
      const open = read(presence.onlineUsers({ room: 'open:1' }))
      await until(() => secret.now().state === 'failed' && open.now().ids.includes('otto'))
      expect(secret.now().error).toMatchObject({ code: 'FORBIDDEN' })
      presence.noticeActivity()
      await presence.setStatus('BUSY')
      expect(presence.link.getSnapshot().state).toBe('open')
    } finally {
      await strict.stop()
    }
  })

  it('says what the person chose, and what others see of them', async () => {
    const presence = presenceOf(at.server, 'fay')
    const me = read(presence.me)
    await until(() => me.now().state === 'live' && me.now().viewer?.user.isOnline)
    await presence.setStatus('BUSY', 'in a call')
    expect(me.now().viewer).toMatchObject({ status: 'BUSY', user: { status: 'BUSY', statusMessage: 'in a call' } })
    await presence.setVisibility('NOBODY')
    await until(() => me.now().viewer?.user.isOnline === false)
    expect(me.now().viewer).toMatchObject({ isOnline: true, visibility: 'NOBODY', status: 'BUSY' })
  })

  it('goes offline and comes back on one connection', async () => {
    const presence = presenceOf(at.server, 'gina')
    const others = presenceOf(at.server, 'gus')
    const gina = read(others.user('gina'))
    await until(() => gina.now().user?.isOnline)
    await presence.goOffline()
    presence.noticeActivity()
    await until(() => gina.now().user?.isOnline === false)
    expect(presence.link.getSnapshot().state).toBe('open')
    await presence.comeBack()
    await until(() => gina.now().user?.isOnline)
  })

  it('learns the session that the server gave it when another tab named the same one', async () => {
    const sessionId = randomUUID()
    const first = presenceOf(at.server, 'iris', { sessionId })
    await until(() => first.link.getSnapshot().state === 'open')
    const second = presenceOf(at.server, 'iris', { sessionId })
    const own = await until(() => first.sessionId !== sessionId && first.sessionId, { what: 'a session of its own' })
    expect(second.sessionId).toBe(sessionId)
    const me = [read(first.me), read(second.me)]
    await until(() => me.every((one) => one.now().viewer?.sessions.length === 2))
    const current = me.map((one) => one.now().viewer?.sessions.find(({ isCurrent }) => isCurrent)?.id)
    expect(current).toEqual([own, sessionId])
  })

  it('says what is wrong where it cannot connect at all', async () => {
    class Forbidden {
      constructor() {
        throw new DOMException('An insecure connection may not be made from a page of https.', 'SecurityError')
      }
    }
    for (const [options, message] of [
      [{ webSocketImpl: Forbidden }, 'An insecure connection'],
      [{ token: () => null }, 'Nobody is signed in.'],
      [{ token: 'nonsense' }, 'The token'],
      [{ sessionId: 'not a uuid' }, 'sessionId'],
    ] as const) {
      const { link } = presenceOf(at.server, 'ida', options)
      const failed = await until(() => link.getSnapshot().state === 'failed' && link.getSnapshot(), { what: message })
      expect(failed.error?.message).toContain(message)
    }
  })

  it('asks for a fresh token where one is refused, and goes on', async () => {
    const tokens = ['nonsense', 'dev:ilse']
    const presence = presenceOf(at.server, 'ilse', { token: async () => String(tokens.shift() ?? 'dev:ilse') })
    await until(() => presence.link.getSnapshot().state === 'open', { withinMs: 2000 })
    expect(tokens).toEqual([])
  })

  it('signs out at once, without a grace', async () => {
    const presence = presenceOf(at.server, 'hanna')
    await until(async () => (await onlineIds(at.server, 'dev:reader')).includes('hanna'))
    await presence.signOut()
    expect(await onlineIds(at.server, 'dev:reader')).not.toContain('hanna')
    expect(presence.link.getSnapshot().state).toBe('idle')
  })

  it('connects again after it signed out, and leaves with the last who asked for it', async () => {
    const presence = presenceOf(at.server, 'ida', { autoConnect: false })
    const leaveBefore = presence.connect()
    await until(() => presence.link.getSnapshot().state === 'open')
    await presence.signOut()
    const leave = presence.connect()
    await until(() => presence.link.getSnapshot().state === 'open')
    leaveBefore()
    const leaveAgain = presence.connect()
    leave()
    // What would end it does so after this step.
    await new Promise((resolve) => setTimeout(resolve, 0))
    expect(presence.link.getSnapshot().state).toBe('open')
    leaveAgain()
    await until(() => presence.link.getSnapshot().state === 'idle')
  })
})
