/** One person who is signed in on this page: their presence, their cable, and whether they went offline. */
import { createPresence, type Presence } from '@rollcall/client'
import { useCallback, useEffect, useMemo, useRef, useState, useSyncExternalStore } from 'react'
import { Cable } from './cable.ts'

/** What counts as just now: the heartbeat that tells of it is on its way for that long at most. */
const JUST_NOW_MS = 5000
const ACTIVITY = ['pointerdown', 'pointermove', 'keydown', 'focus'] as const

export interface PersonOptions {
  readonly token: string
  readonly room: string | null
  /** Left out: the kit's own, one a tab. */
  readonly sessionId?: string
  /** Went offline before a reload: the page watches, and is no session until they come back. */
  readonly startsOffline: boolean
  readonly onLeft: (hasLeft: boolean) => void
}

export interface Person {
  readonly presence: Presence
  readonly cable: Cable
  /** When their cable was cut, in epoch ms; null while it is whole. */
  readonly cutAtMs: number | null
  /** They went offline in this tab, and have not come back. */
  readonly hasLeft: boolean
  leave(): Promise<void>
  comeBack(): Promise<void>
}

/** The caller puts `presence` into a `PresenceProvider`. */
export function usePerson({ token, room, sessionId, startsOffline, onLeft }: PersonOptions): Person {
  const [cable] = useState(() => new Cable())
  const cutAtMs = useSyncExternalStore(cable.subscribe, cable.getSnapshot)
  const [hasLeft, setHasLeft] = useState(startsOffline)
  const [isObserver, setIsObserver] = useState(startsOffline)
  const presence = useMemo(
    () =>
      createPresence({
        // Relative: the page lies below any BASE_PATH.
        url: 'graphql',
        token,
        device: 'Demo page',
        observer: isObserver,
        webSocketImpl: cable.webSocketImpl,
        autoConnect: false,
        ...(sessionId === undefined ? {} : { sessionId }),
      }),
    [token, isObserver, cable, sessionId],
  )
  useEffect(() => presence.connect(), [presence])
  useEffect(() => (room === null ? undefined : presence.joinRoom(room)), [presence, room])

  const setLeft = useCallback(
    (next: boolean) => {
      setHasLeft(next)
      onLeft(next)
    },
    [onLeft],
  )

  return {
    presence,
    cable,
    cutAtMs,
    hasLeft,

    async leave() {
      setLeft(true)
      try {
        await presence.goOffline()
      } catch (error) {
        setLeft(false)
        throw error
      }
    },

    async comeBack() {
      setLeft(false)
      if (!isObserver) return presence.comeBack()
      // A client that only watches stays one: another one takes its place, and its session id.
      presence.close()
      setIsObserver(false)
    },
  }
}

/** Whether the person opened the page or did something just now, or does not look at it yet. */
export function useIsComing(isAsked: boolean): boolean {
  const [isHidden, setIsHidden] = useState(document.visibilityState !== 'visible')
  const [isRecent, setIsRecent] = useState(true)
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined)
  useEffect(() => {
    timer.current = setTimeout(setIsRecent, JUST_NOW_MS, false)
    return () => clearTimeout(timer.current)
  }, [])
  useEffect(() => {
    if (!isAsked) return
    const look = (): void => setIsHidden(document.visibilityState !== 'visible')
    const notice = (): void => {
      look()
      setIsRecent(true)
      clearTimeout(timer.current)
      timer.current = setTimeout(setIsRecent, JUST_NOW_MS, false)
    }
    look()
    for (const name of ACTIVITY) addEventListener(name, notice, { passive: true, capture: true })
    document.addEventListener('visibilitychange', notice)
    return () => {
      for (const name of ACTIVITY) removeEventListener(name, notice, { capture: true })
      document.removeEventListener('visibilitychange', notice)
    }
  }, [isAsked])
  return isHidden || isRecent
}

/** The time in epoch ms, again and again while somebody asks. */
export function useNow(intervalMs: number | null): number {
  const [nowMs, setNowMs] = useState(Date.now)
  useEffect(() => {
    if (intervalMs === null) return
    setNowMs(Date.now())
    const timer = setInterval(() => setNowMs(Date.now()), intervalMs)
    return () => clearInterval(timer)
  }, [intervalMs])
  return nowMs
}
