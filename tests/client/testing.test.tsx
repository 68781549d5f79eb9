// Before React, which looks for a page when it is loaded.
import './dom.ts'

import { act, cleanup, render, screen } from '@testing-library/react'
import type { ReactElement } from 'react'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { PresenceProvider, useMyPresence, useOnlineUsers, useRoom, useUser } from '../../client/src/react/index.ts'
import { createTestPresence } from '../../client/src/testing/index.ts'
import { installPage, removePage } from './dom.ts'

beforeAll(installPage)
afterEach(cleanup)
afterAll(removePage)

function Team(): ReactElement {
  const { ids, state } = useOnlineUsers()
  return (
    <ul aria-label={state}>
      {ids.map((id) => (
        <Member key={id} id={id} />
      ))}
    </ul>
  )
}

function Member({ id }: { readonly id: string }): ReactElement {
  const { user } = useUser(id)
  return <li>{`${user?.name}: ${user?.status}`}</li>
}

describe('a presence for tests of components', () => {
  it('shows who is there from the start, who comes, changes and goes', () => {
    const presence = createTestPresence({ me: { id: 'alice' }, users: [{ id: 'bob', name: 'Bob' }] })
    render(
      <PresenceProvider presence={presence}>
        <Team />
      </PresenceProvider>,
    )
    const rows = () => screen.getAllByRole('listitem').map(({ textContent }) => textContent)
    expect(rows()).toEqual(['alice: ONLINE', 'Bob: ONLINE'])
    act(() => presence.show({ id: 'bob', status: 'BUSY' }))
    expect(rows()).toEqual(['alice: ONLINE', 'Bob: BUSY'])
    act(() => presence.show({ id: 'carl' }))
    expect(rows()).toEqual(['alice: ONLINE', 'Bob: BUSY', 'carl: ONLINE'])
    act(() => presence.show({ id: 'bob', status: 'OFFLINE' }))
    expect(rows()).toEqual(['alice: ONLINE', 'carl: ONLINE'])
  })

  it('says live, stale and loading as it is told', () => {
    const presence = createTestPresence()
    render(
      <PresenceProvider presence={presence}>
        <Team />
      </PresenceProvider>,
    )
    for (const state of ['stale', 'loading', 'live'] as const) {
      act(() => presence.become(state))
      expect(screen.getByRole('list').getAttribute('aria-label')).toBe(state)
    }
    expect(presence.onlineUsers().getSnapshot().since).toBeNull()
  })

  it('joins rooms, hides, and goes offline as the real one does', async () => {
    const presence = createTestPresence({ me: { id: 'alice' } })
    function Me(): ReactElement {
      const { viewer } = useMyPresence()
      const { ids } = useRoom('lobby')
      return <p>{`${viewer?.status}, seen as ${viewer?.user.status}, in the room: ${ids.join()}`}</p>
    }
    render(
      <PresenceProvider presence={presence}>
        <Me />
      </PresenceProvider>,
    )
    expect(screen.getByText('ONLINE, seen as ONLINE, in the room: alice')).toBeTruthy()
    expect([...presence.joinedRooms]).toEqual(['lobby'])
    await act(() => presence.setVisibility('NOBODY'))
    expect(screen.getByText('ONLINE, seen as OFFLINE, in the room:')).toBeTruthy()
    await act(() => presence.setVisibility('EVERYONE'))
    await act(() => presence.setStatus('BUSY', 'in a call'))
    expect(presence.user('alice').getSnapshot().user).toMatchObject({ status: 'BUSY', statusMessage: 'in a call' })
    await act(() => presence.goOffline())
    expect(screen.getByText('OFFLINE, seen as OFFLINE, in the room:')).toBeTruthy()
    cleanup()
    expect([...presence.joinedRooms]).toEqual([])
  })
})
