import { useOnlineUsers, useUser } from '@rollcall/client/react'

const Row = ({ id }: { id: string }) => <li>{useUser(id).user?.name}</li>

export function Online() {
  const { ids } = useOnlineUsers()
  return ids.map((id) => <Row key={id} id={id} />)
}
