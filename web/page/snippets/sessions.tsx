import { useMyPresence } from '@rollcall/client/react'

export function MyDevices() {
  const { viewer } = useMyPresence()
  const devices = viewer?.sessions.map(({ device }) => device)
  return <p>{devices?.join(', ')}</p>
}
