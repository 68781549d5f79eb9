import { useMyPresence } from '@rollcall/client/react'

export function AppearOffline() {
  const { setVisibility } = useMyPresence()
  const hide = () => setVisibility('NOBODY')
  return <button onClick={hide}>Appear offline</button>
}
