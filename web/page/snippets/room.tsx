import { useOnlineCount, useRoom } from '@rollcall/client/react'

export function Lobby() {
  const { ids } = useRoom('lobby')
  const { count } = useOnlineCount()
  return <p>{ids.length} in the lobby, {count} online</p>
}
