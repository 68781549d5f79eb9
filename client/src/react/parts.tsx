/** Small parts without styles: the words stand beside what a style makes of them, so that nobody has to see colours. */
import { type ComponentProps, type ReactElement, useEffect, useReducer } from 'react'
import type { PresenceStatus, User, UserSnapshot } from '../types.ts'
import { useOnlineUsers, useUser } from './hooks.ts'
import { changesInMs, relativeTime } from './relative-time.ts'

const WORDS: Readonly<Record<PresenceStatus, string>> = {
  ONLINE: 'online',
  AWAY: 'away',
  BUSY: 'busy',
  OFFLINE: 'offline',
}

export interface PresenceDotProps extends Omit<ComponentProps<'span'>, 'children' | 'id'> {
  /** Whose. */
  readonly userId: string
  /** The words beside the dot, in your language. What is stale has to say so. */
  readonly words?: (snapshot: UserSnapshot) => string
}

/**
 * Whether a user is there, in words. Style the dot by the attributes: `data-status` is the status, and `data-state` says
 * how much it can be trusted.
 *
 * ```css
 * [data-status]::before { content: ''; display: inline-block; width: 0.6em; height: 0.6em; border-radius: 50%; background: gray }
 * [data-status='ONLINE']::before { background: green }
 * [data-state='stale']::before { opacity: 0.4 }
 * ```
 */
export function PresenceDot({ userId, words = wordsOf, ...rest }: PresenceDotProps): ReactElement {
  const snapshot = useUser(userId)
  return (
    <span {...rest} data-status={snapshot.user?.status ?? 'OFFLINE'} data-state={snapshot.state}>
      {words(snapshot)}
    </span>
  )
}

function wordsOf({ state, user }: UserSnapshot): string {
  if (state === 'loading') return '…'
  const word = WORDS[user?.status ?? 'OFFLINE']
  return state === 'live' ? word : `${word}, as last known`
}

export interface LastSeenProps extends Omit<ComponentProps<'span'>, 'children' | 'id'> {
  /** Whose. */
  readonly userId: string
  /** A language tag, such as `de`. Left out: the one of the browser. */
  readonly locale?: string
  /** What stands there while the user is online: nothing, if it is left out. */
  readonly online?: string
}

/** When a user was last there: "2 min. ago". Nothing where that is not known, or where the user hides it. */
export function LastSeen({ userId, locale, online, ...rest }: LastSeenProps): ReactElement | null {
  const { user } = useUser(userId)
  const lastSeen = user?.lastSeen ?? null
  useTimePassing(lastSeen)
  if (user?.isOnline && online) return <span {...rest}>{online}</span>
  if (lastSeen === null) return null
  return (
    <span {...rest}>
      <time dateTime={lastSeen} title={new Date(lastSeen).toLocaleString(locale)}>
        {relativeTime(Date.parse(lastSeen), Date.now(), locale)}
      </time>
    </span>
  )
}

/** Renders again when the words for a moment become others. */
function useTimePassing(moment: string | null): void {
  const [count, passed] = useReducer((count: number) => count + 1, 0)
  // biome-ignore lint/correctness/useExhaustiveDependencies: each time that it has passed sets the next one
  useEffect(() => {
    if (moment === null) return
    const timer = setTimeout(passed, changesInMs(Date.parse(moment), Date.now()))
    return () => clearTimeout(timer)
  }, [moment, count])
}

export interface AvatarStackProps extends Omit<ComponentProps<'ul'>, 'children'> {
  /** Left out: everywhere. */
  readonly room?: string | null
  /** How many are shown; how many more there are stands behind them. */
  readonly max?: number
}

/** The pictures of who is online, or their initials, as a list that screen readers read. */
export function AvatarStack({ room = null, max = 5, ...rest }: AvatarStackProps): ReactElement {
  const { ids, state } = useOnlineUsers({ room })
  const others = ids.length - max
  return (
    <ul aria-label="Online" {...rest} data-state={state}>
      {ids.slice(0, max).map((id) => (
        <li key={id}>
          <Avatar userId={id} />
        </li>
      ))}
      {others > 0 && <li>{`+${others.toLocaleString()}`}</li>}
    </ul>
  )
}

function Avatar({ userId }: { readonly userId: string }): ReactElement | null {
  const { user } = useUser(userId)
  if (!user) return null
  if (user.avatarUrl) return <img src={user.avatarUrl} alt={user.name} title={user.name} />
  return (
    <span role="img" aria-label={user.name} title={user.name}>
      {initials(user)}
    </span>
  )
}

/** Of the first and of the last word of the name. */
function initials({ name }: User): string {
  const words = name.trim().split(/\s+/)
  const letters = words.length > 1 ? [words[0], words.at(-1)] : words
  return letters
    .map((word) => [...(word ?? '')][0] ?? '')
    .join('')
    .toUpperCase()
}
