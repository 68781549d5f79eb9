/** A user as one row: their mark, name, status and message. */
import type { PresenceStatus, User } from '@rollcall/client'
import { type ReactElement, useState } from 'react'
import { initial, moment, shownName, statusWord } from './words.ts'

export function Mark({ user, status }: { readonly user: User; readonly status: PresenceStatus }): ReactElement {
  const [isBroken, setIsBroken] = useState(false)
  const { avatarUrl } = user
  return (
    <span className="mark" data-status={status} aria-hidden="true">
      {avatarUrl && !isBroken ? (
        <img src={avatarUrl} alt="" loading="lazy" referrerPolicy="no-referrer" onError={() => setIsBroken(true)} />
      ) : (
        initial(user.name)
      )}
    </span>
  )
}

export function Name({ user }: { readonly user: Pick<User, 'id' | 'name'> }): ReactElement {
  const { name, suffix } = shownName(user)
  return (
    <span className="name">
      <bdi>{name}</bdi>
      {suffix !== null && <span className="suffix"> {suffix}</span>}
    </span>
  )
}

export function Status({ user }: { readonly user: User }): ReactElement {
  return (
    <span className="status" data-status={user.status}>
      {statusWord(user.status)}
    </span>
  )
}

/** What is in a row, whatever the row is. */
export function UserLine({ user, isOwn = false }: { readonly user: User; readonly isOwn?: boolean }): ReactElement {
  return (
    <>
      <Mark user={user} status={user.status} />
      <span className="who">
        <Name user={user} />
        {isOwn && <span className="you">you</span>}
      </span>
      <span className="what">
        <Status user={user} />
        {user.statusMessage !== null && <bdi className="message">{user.statusMessage}</bdi>}
      </span>
      {user.onlineSince !== null && (
        <time className="since" dateTime={user.onlineSince}>{`since ${moment(user.onlineSince)}`}</time>
      )}
    </>
  )
}
