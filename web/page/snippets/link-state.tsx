import { useLink } from '@rollcall/client/react'

export function LinkState() {
  const { state, retryAt, retryNow } = useLink()
  if (state !== 'waiting') return <p>{state}</p>
  const at = retryAt.toLocaleTimeString()
  return <button onClick={retryNow}>Now, not at {at}</button>
}
