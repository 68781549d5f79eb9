import { memo, type ReactElement, type ReactNode } from 'react'
import type { User } from '../types.ts'
import { useOnlineUsers, useUser } from './hooks.ts'

export interface OnlineUsersProps {
  /** Left out: everywhere. */
  readonly room?: string | null
  /** Renders one user. */
  readonly children: (user: User) => ReactNode
}

/**
 * Renders each user who is online, ordered by id. What changes of one user renders that user again and nothing else, and
 * so does one who comes or goes.
 */
export function OnlineUsers({ room = null, children }: OnlineUsersProps): ReactElement {
  const { ids } = useOnlineUsers({ room })
  return (
    <>
      {ids.map((id) => (
        <Row key={id} id={id} render={children} />
      ))}
    </>
  )
}

const Row = memo(function Row({ id, render }: { readonly id: string; readonly render: OnlineUsersProps['children'] }) {
  const { user } = useUser(id)
  return user && render(user)
})
