import { useMyPresence } from '@rollcall/client/react'

export function BusyButton() {
  const { setStatus } = useMyPresence()
  const busy = () => setStatus('BUSY', 'In a meeting')
  return <button onClick={busy}>Busy</button>
}
