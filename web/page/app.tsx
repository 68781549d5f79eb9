/** Chooses what the tab shows, and remembers it across reloads. */
import { type ReactElement, useCallback, useEffect, useRef, useState } from 'react'
import { Pair } from './pair.tsx'
import { SignIn } from './sign-in.tsx'
import { SignedIn } from './signed-in.tsx'
import { newTabMemory, recall, remember, type TabMemory } from './tab-memory.ts'

type View =
  /** Alice and Bob, both signed in by this tab. */
  | { readonly kind: 'pair' }
  | { readonly kind: 'sign-in'; readonly note: string | null; readonly takesFocus: boolean }
  | { readonly kind: 'signed-in'; readonly memory: TabMemory; readonly takesFocus: boolean }

export function App(): ReactElement {
  const [view, setView] = useState(firstView)
  const memory = useRef<TabMemory | null>(null)

  const keep = useCallback((next: TabMemory) => {
    memory.current = next
    // Where nothing can be remembered, the address has to say it again after a reload.
    if (remember(next)) history.replaceState(null, '', location.pathname)
  }, [])

  const open = view.kind === 'signed-in' ? view.memory : null
  useEffect(() => {
    if (open) keep(open)
  }, [open, keep])

  useEffect(() => {
    // Another page of this tab may have been somebody else while this one was in the back/forward cache.
    const show = ({ persisted }: PageTransitionEvent) => persisted && memory.current && remember(memory.current)
    addEventListener('pageshow', show)
    return () => removeEventListener('pageshow', show)
  }, [])

  const signIn = useCallback((identity: string, room: string) => {
    setView({ kind: 'signed-in', memory: newTabMemory(identity, room), takesFocus: true })
  }, [])

  const signedOut = useCallback(() => {
    memory.current = null
    remember(null)
    history.replaceState(null, '', location.pathname)
    setView({ kind: 'sign-in', note: null, takesFocus: true })
  }, [])

  const refused = useCallback((reason: string) => {
    const note = `This server does not sign in Alice and Bob by their names: ${reason} Sign in with a token.`
    setView({ kind: 'sign-in', note, takesFocus: false })
  }, [])

  if (view.kind === 'pair') return <Pair onSignIn={signIn} onRefused={refused} />
  if (view.kind === 'sign-in') return <SignIn {...view} onSignIn={signIn} />
  return <SignedIn memory={view.memory} takesFocus={view.takesFocus} onRemember={keep} onSignedOut={signedOut} />
}

function firstView(): View {
  const params = new URLSearchParams(location.search)
  const user = params.get('user')?.trim() ?? ''
  const memory = user === '' ? recall() : newTabMemory(user, params.get('room') ?? '')
  return memory ? { kind: 'signed-in', memory, takesFocus: false } : { kind: 'pair' }
}
