import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { closeTabs, onlineIds, openTab, post } from '../support/clients.ts'
import { startServer, type TestServer } from '../support/server.ts'
import { until } from '../support/wait.ts'
import { closeAll, presenceOf, read, untilLive } from './kit.ts'

describe('the client kit', () => {
  let server: TestServer
  beforeAll(async () => {
    server = await startServer({ SESSION_TTL: '60s' })
  })
  afterEach(() => {
    closeAll()
    closeTabs()
  })
  afterAll(() => server.stop())

  it('makes its person online, also where nothing is asked of it', async () => {
    presenceOf(server, 'alice')
    await until(async () => (await onlineIds(server, 'dev:reader')).includes('alice'))
  })

  it('shows who is online, and follows who comes and goes', async () => {
    const presence = presenceOf(server, 'anna')
    const list = read(presence.onlineUsers())
    expect(list.now()).toMatchObject({ state: 'loading', ids: [], users: [] })
    await untilLive(presence.onlineUsers())
    const bob = await openTab(server, 'bob')
    await until(() => list.now().ids.includes('bob'))
    expect(list.now().users.find(({ id }) => id === 'bob')).toMatchObject({ name: 'bob', status: 'ONLINE' })
    await bob.close()
    await until(() => !list.now().ids.includes('bob'))
    expect(list.said.slice(1).every(({ state }) => state === 'loading' || state === 'live')).toBe(true)
  })

  it('keeps the list of ids and the other rows as they are when one user changes', async () => {
    const presence = presenceOf(server, 'ada')
    await openTab(server, 'ben')
    const list = read(presence.onlineUsers())
    await until(() => list.now().state === 'live' && list.now().ids.includes('ben'))
    const before = list.now()
    const ids = presence.onlineUsers().ids.getSnapshot()
    await post(server, 'dev:ben', 'mutation { setStatus(status: BUSY) { viewer { id } } }')
    await until(() => list.now().users.find(({ id }) => id === 'ben')?.status === 'BUSY')
    expect(list.now().ids).toBe(before.ids)
    expect(presence.onlineUsers().ids.getSnapshot().ids).toBe(ids.ids)
    expect(list.now().users.find(({ id }) => id === 'ada')).toBe(before.users.find(({ id }) => id === 'ada'))
  })

  it('watches users by their ids, seen before or not', async () => {
    const presence = presenceOf(server, 'clara')
    const dora = read(presence.user('dora'))
    expect(dora.now()).toEqual({ state: 'loading', since: null, error: null, user: null })
    await until(() => dora.now().state === 'live')
    expect(dora.now().user).toBeNull()
    const tab = await openTab(server, 'dora')
    await until(() => dora.now().user?.isOnline)
    await tab.close()
    await until(() => dora.now().user?.isOnline === false)
  })

  it('counts, in a room and everywhere', async () => {
    const presence = presenceOf(server, 'emma')
    const inRoom = read(presence.count({ room: 'lounge' }))
    await until(() => inRoom.now().state === 'live')
    expect(inRoom.now().count).toBe(0)
    const leave = presence.joinRoom('lounge')
    await until(() => inRoom.now().count === 1)
    leave()
    await until(() => inRoom.now().count === 0)
  })

  it('says what the person chose, and what others see of them', async () => {
    const presence = presenceOf(server, 'fay')
    const me = read(presence.me)
    await until(() => me.now().state === 'live' && me.now().viewer?.user.isOnline)
    await presence.setStatus('BUSY', 'in a call')
    expect(me.now().viewer).toMatchObject({ status: 'BUSY', user: { status: 'BUSY', statusMessage: 'in a call' } })
    await presence.setVisibility('NOBODY')
    await until(() => me.now().viewer?.user.isOnline === false)
    expect(me.now().viewer).toMatchObject({ isOnline: true, visibility: 'NOBODY', status: 'BUSY' })
  })

  it('goes offline and comes back on one connection', async () => {
    const presence = presenceOf(server, 'gina')
    const others = presenceOf(server, 'gus')
    const gina = read(others.user('gina'))
    await until(() => gina.now().user?.isOnline)
    await presence.goOffline()
    presence.noticeActivity()
    await until(() => gina.now().user?.isOnline === false)
    expect(presence.link.getSnapshot().state).toBe('open')
    await presence.comeBack()
    await until(() => gina.now().user?.isOnline)
  })

  it('signs out at once, without a grace', async () => {
    const presence = presenceOf(server, 'hanna')
    await until(async () => (await onlineIds(server, 'dev:reader')).includes('hanna'))
    await presence.signOut()
    expect(await onlineIds(server, 'dev:reader')).not.toContain('hanna')
    expect(presence.link.getSnapshot().state).toBe('idle')
  })

  it('connects again after it signed out, and leaves with the last who asked for it', async () => {
    const presence = presenceOf(server, 'ida', { autoConnect: false })
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
