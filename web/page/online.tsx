/** Everyone who is online, or in a room: any number of people, and a field to find one. */
import type { Freshness, OnlineUsersSnapshot, User } from '@rollcall/client'
import { useLink, useMyPresence, useOnlineUsers, usePresence, useRoom, useUser } from '@rollcall/client/react'
import { memo, type ReactElement, useCallback, useEffect, useMemo, useState } from 'react'
import { Code } from './code.tsx'
import { FreshnessMark, freshnessOf } from './link.tsx'
import { LongList } from './long-list.tsx'
import longList from './snippets/long-list.tsx?raw'
import { UserLine } from './user.tsx'
import { shownName } from './words.ts'

/** As in the style sheet. */
const ROW_HEIGHT = 64
/** How often a search looks at names, which may change. */
const SEARCH_INTERVAL_MS = 300

export function Online({ room }: { readonly room: string | null }): ReactElement {
  return room === null ? <Everyone /> : <InRoom room={room} />
}

function Everyone(): ReactElement {
  return <OnlineCard room={null} {...idsOf(useOnlineUsers())} />
}

function InRoom({ room }: { readonly room: string }): ReactElement {
  return <OnlineCard room={room} {...idsOf(useRoom(room))} />
}

interface OnlineIds {
  readonly ids: readonly string[]
  readonly freshness: Freshness
}

/** Its `users` is not read: each row takes its own, and so an update renders one row. */
function idsOf(online: OnlineUsersSnapshot): OnlineIds {
  return { ids: online.ids, freshness: freshnessOf(online) }
}

function OnlineCard({ room, ids, freshness }: OnlineIds & { readonly room: string | null }): ReactElement {
  const [search, setSearch] = useState('')
  const isKnown = ids.length > 0 || freshness.state === 'live'
  return (
    <section className="card online" aria-labelledby="list-heading" data-state={freshness.state}>
      <div className="card-top">
        <h2 id="list-heading">
          <span id="list-title">{room === null ? 'Online now' : `In ${room}`}</span>{' '}
          <span id="list-count" className="count">
            {isKnown ? ids.length.toLocaleString() : ''}
          </span>
        </h2>
        <FreshnessMark id="freshness" freshness={freshness} />
      </div>
      <div className="field">
        <label className="unseen" htmlFor="search">
          Find a person
        </label>
        <input
          id="search"
          type="search"
          autoComplete="off"
          placeholder="Find by name or id"
          value={search}
          onChange={({ target }) => setSearch(target.value)}
        />
      </div>
      {search.trim() === '' ? (
        <People ids={ids} />
      ) : (
        <Found ids={ids} room={room} search={search.trim().toLocaleLowerCase()} />
      )}
      <Code title="the list" text={longList} />
    </section>
  )
}

interface FoundProps {
  readonly ids: readonly string[]
  readonly room: string | null
  readonly search: string
}

function Found({ ids, room, search }: FoundProps): ReactElement {
  const users = useSampledUsers(room, SEARCH_INTERVAL_MS)
  const found = useMemo(() => {
    const there = new Set(ids)
    return users
      .filter((user) => there.has(user.id) && `${user.id} ${shownName(user).text}`.toLocaleLowerCase().includes(search))
      .map(({ id }) => id)
  }, [ids, users, search])
  return (
    <>
      <p className="hint" role="status">
        {found.length === 1 ? '1 person found.' : `${found.length.toLocaleString()} people found.`}
      </p>
      <People ids={found} />
    </>
  )
}

function People({ ids }: { readonly ids: readonly string[] }): ReactElement {
  const ownId = useMyPresence().viewer?.user.id
  const { state } = useLink()
  const row = useCallback(
    (id: string, position: number, count: number) => (
      <Row key={id} id={id} isOwn={id === ownId} position={position} count={count} />
    ),
    [ownId],
  )
  if (ids.length === 0) return <p className="hint">{state === 'open' ? 'Nobody.' : 'Nobody is known yet.'}</p>
  return (
    <LongList id="list" labelledBy="list-heading" keys={ids} rowHeight={ROW_HEIGHT}>
      {row}
    </LongList>
  )
}

interface RowProps {
  readonly id: string
  readonly isOwn: boolean
  readonly position: number
  readonly count: number
}

const Row = memo(function Row({ id, isOwn, position, count }: RowProps): ReactElement {
  const { user } = useUser(id)
  return (
    <li className="person" aria-posinset={position} aria-setsize={count}>
      {user && <UserLine user={user} isOwn={isOwn} />}
    </li>
  )
})

/** All users of a list, looked at now and then: 100 of them may change in a second. */
export function useSampledUsers(room: string | null, intervalMs: number): readonly User[] {
  const presence = usePresence()
  const store = useMemo(() => presence.onlineUsers({ room }), [presence, room])
  const [users, setUsers] = useState(() => store.getSnapshot().users)
  useEffect(() => {
    const look = (): void => setUsers(store.getSnapshot().users)
    look()
    // The list is followed while its ids are.
    const stop = store.ids.subscribe(() => {})
    const timer = setInterval(look, intervalMs)
    return () => {
      stop()
      clearInterval(timer)
    }
  }, [store, intervalMs])
  return users
}
