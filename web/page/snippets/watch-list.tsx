import { useUsers } from '@rollcall/client/react'

export function Team() {
  const { users } = useUsers(['alice', 'bob', 'carol'])
  const there = users.filter((user) => user?.isOnline)
  return <p>{there.length} of the team are here</p>
}
