/** Gives the parts of an app the presence of the person who is signed in. */
import { createContext, type ReactElement, type ReactNode, useContext, useEffect, useMemo, useRef } from 'react'
import { createPresence, type Presence, type PresenceOptions } from '../presence.ts'

const Context = createContext<Presence | null>(null)

/** What `createPresence` takes, or what it made: then the app connects and closes it by itself. */
export type PresenceProviderProps = { readonly children?: ReactNode } & (
  | (Omit<PresenceOptions, 'autoConnect'> & { readonly presence?: undefined })
  | { readonly presence: Presence }
)

/**
 * Connects while it is mounted. Where somebody else signs in, give it a `key` that names them: another person is another
 * session. On a server nothing connects, and everything is `loading`.
 */
export function PresenceProvider({ children, ...props }: PresenceProviderProps): ReactElement {
  const given = 'presence' in props && props.presence ? props.presence : null
  const options = given ? null : (props as PresenceOptions)
  const latest = useRef(options)
  useEffect(() => {
    latest.current = options
  })

  const url = options?.url
  const text = typeof options?.token === 'string' ? options.token : null
  // biome-ignore lint/correctness/useExhaustiveDependencies: another function that fetches tokens is the same person
  const presence = useMemo(() => given ?? ownPresence(latest), [given, url, text])
  useEffect(() => (given ? undefined : presence.connect()), [given, presence])
  return <Context.Provider value={presence}>{children}</Context.Provider>
}

/** @throws Error outside a provider */
export function usePresence(): Presence {
  const presence = useContext(Context)
  if (!presence) throw new Error('There is no <PresenceProvider> around this component.')
  return presence
}

/** A token is fetched as the app does it when it is needed, and not as it did at the first rendering. */
function ownPresence(latest: { readonly current: PresenceOptions | null }): Presence {
  const options = latest.current as PresenceOptions
  const token = (): ReturnType<Extract<PresenceOptions['token'], () => unknown>> => {
    const current = (latest.current ?? options).token
    return typeof current === 'string' ? current : current()
  }
  return createPresence({
    ...options,
    token: typeof options.token === 'string' ? options.token : token,
    autoConnect: false,
  })
}
