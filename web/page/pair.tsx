/** What a tab shows first: Alice and Bob, each signed in by a session of their own, and each as the other sees them. */
import { PresenceProvider, useLink, useOnlineUsers, useUser } from '@rollcall/client/react'
import { type ReactElement, useCallback, useEffect, useId, useRef, useState } from 'react'
import { Code } from './code.tsx'
import { Controls } from './controls.tsx'
import { FreshnessMark, freshnessOf, LinkState, OwnState, useShownStatus } from './link.tsx'
import { type Person, useNow, usePerson } from './person.ts'
import { SignInForm, type SignInFormProps } from './sign-in.tsx'
import myStatus from './snippets/my-status.tsx?raw'
import provider from './snippets/provider.tsx?raw'
import whoIsOnline from './snippets/who-is-online.tsx?raw'
import { type PairMemory, recallPair, rememberPair, tokenOf } from './tab-memory.ts'
import { Mark, Name, UserLine } from './user.tsx'
import { shownName, statusWord } from './words.ts'

/** Besides the other one of the two. */
const MAX_OTHERS = 2
const TICK_MS = 1000
/** The default grace is 15 s, and then comes a sweep. */
const MAX_TICKS = 24

type Side = 'alice' | 'bob'

export interface PairProps {
  readonly onSignIn: SignInFormProps['onSignIn']
  /** The server takes no `dev:` tokens. */
  readonly onRefused: (reason: string) => void
}

export function Pair({ onSignIn, onRefused }: PairProps): ReactElement {
  const [start] = useState(recallPair)
  const memory = useRef(start)
  const alice = useSide('alice', start, memory)
  const bob = useSide('bob', start, memory)

  function signIn(identity: string, room: string): void {
    // They are gone at once, and not after the grace of a closed tab.
    void alice.person.presence.signOut()
    void bob.person.presence.signOut()
    onSignIn(identity, room)
  }

  return (
    <>
      <section className="lead" aria-labelledby="pair-heading">
        <h2 id="pair-heading">Two people, one page</h2>
        <p>Alice and Bob are both signed in here, each with a session of their own. Change one, and watch the other.</p>
      </section>
      <div className="pair">
        <Panel own={alice} other={bob} onRefused={onRefused} />
        <Panel own={bob} other={alice} onRefused={onRefused} />
        <section className="codes" aria-label="The code">
          <Code isOpen title="sign in" text={provider} />
          <Code isOpen title="show who is online" text={whoIsOnline} />
          <Code isOpen title="be busy" text={myStatus} />
        </section>
      </div>
      <div className="columns">
        <section className="card" aria-labelledby="sign-in-heading">
          <h2 id="sign-in-heading">Sign in as anyone</h2>
          <SignInForm onSignIn={signIn} />
        </section>
        <section className="card" aria-labelledby="more-heading">
          <h2 id="more-heading">See more</h2>
          <p>
            Signed in alone you see everyone who is online, rooms, a watch list, your other tabs and devices, and what
            happens.
          </p>
          <p className="actions">
            <NewTab userId="bob" />
            <NewTab userId="carol" />
          </p>
        </section>
      </div>
    </>
  )
}

function NewTab({ userId }: { readonly userId: string }): ReactElement {
  return (
    <a className="button" href={`./?user=${userId}`} target="_blank" rel="noopener">
      {`Open a tab as ${userId}`}
    </a>
  )
}

interface OneSide {
  readonly userId: string
  readonly person: Person
}

function useSide(side: Side, start: PairMemory, memory: { current: PairMemory }): OneSide {
  const userId = `${side}-${start.suffix}`
  const onLeft = useCallback(
    (hasLeft: boolean) => {
      memory.current = { ...memory.current, hasLeft: { ...memory.current.hasLeft, [side]: hasLeft } }
      rememberPair(memory.current)
    },
    [memory, side],
  )
  const person = usePerson({
    token: tokenOf(userId),
    room: null,
    sessionId: start.sessionIds[side],
    startsOffline: start.hasLeft[side],
    onLeft,
  })
  return { userId, person }
}

interface PanelProps {
  readonly own: OneSide
  readonly other: OneSide
  readonly onRefused: (reason: string) => void
}

function Panel({ own, other, onRefused }: PanelProps): ReactElement {
  const heading = useId()
  return (
    <PresenceProvider presence={own.person.presence}>
      <section className="card panel" aria-labelledby={heading}>
        <Header heading={heading} own={own} onRefused={onRefused} />
        <Seen ownId={own.userId} otherId={other.userId} />
        <Controls person={own.person} />
        {own.person.cutAtMs === null && (
          <p className="hint cut-hint">
            Cut the link to lose the network, and see for how long {shownName(nameless(other.userId)).name} goes on
            seeing {shownName(nameless(own.userId)).name}.
          </p>
        )}
        <PresenceProvider presence={other.person.presence}>
          <Cut userId={own.userId} byId={other.userId} cutAtMs={own.person.cutAtMs} />
        </PresenceProvider>
      </section>
    </PresenceProvider>
  )
}

interface HeaderProps {
  readonly heading: string
  readonly own: OneSide
  readonly onRefused: (reason: string) => void
}

function Header({ heading, own, onRefused }: HeaderProps): ReactElement {
  const { error } = useLink()
  const reason = error !== null && 'code' in error && error.code === 'UNAUTHENTICATED' ? error.message : null
  useEffect(() => {
    if (reason !== null) onRefused(reason)
  }, [reason, onRefused])
  return (
    <header className="panel-top">
      <Mark user={{ ...NOBODY, ...nameless(own.userId) }} status={useShownStatus(own.person.hasLeft)} />
      <h3 id={heading}>
        <Name user={nameless(own.userId)} />
      </h3>
      <OwnState hasLeft={own.person.hasLeft} />
      <LinkState />
    </header>
  )
}

/** Who is online, as this person sees it: the other one first, and also while they are offline. */
function Seen({ ownId, otherId }: { readonly ownId: string; readonly otherId: string }): ReactElement {
  // Its `users` is not read: each row takes its own, and so an update renders one row.
  const online = useOnlineUsers()
  const { ids } = online
  const others = ids.filter((id) => id !== ownId && id !== otherId)
  const isOtherOnline = ids.includes(otherId)
  const moreCount = others.length - Math.min(others.length, MAX_OTHERS)
  return (
    <div className="seen" data-state={online.state}>
      <p className="seen-top">
        <span>{`Others online: ${(others.length + (isOtherOnline ? 1 : 0)).toLocaleString()}`}</span>
        <FreshnessMark freshness={freshnessOf(online)} />
      </p>
      <ul className="people">
        {[otherId, ...others.slice(0, MAX_OTHERS)].map((id) => (
          <SeenUser key={id} id={id} />
        ))}
      </ul>
      {moreCount > 0 && <p className="hint">{`And ${moreCount.toLocaleString()} more.`}</p>}
    </div>
  )
}

function SeenUser({ id }: { readonly id: string }): ReactElement {
  const { user, state } = useUser(id)
  if (user) {
    return (
      <li className="person">
        <UserLine user={user} />
      </li>
    )
  }
  return (
    <li className="person">
      <Mark user={{ ...NOBODY, ...nameless(id) }} status="OFFLINE" />
      <span className="who">
        <Name user={nameless(id)} />
      </span>
      <span className="what">{state === 'live' ? statusWord('OFFLINE') : 'Loading…'}</span>
    </li>
  )
}

const NOBODY = {
  avatarUrl: null,
  isOnline: false,
  status: 'OFFLINE',
  statusMessage: null,
  onlineSince: null,
  lastActive: null,
  lastSeen: null,
} as const

function nameless(id: string): { readonly id: string; readonly name: string } {
  return { id, name: id }
}

interface CutProps {
  readonly userId: string
  /** Who looks at them. */
  readonly byId: string
  readonly cutAtMs: number | null
}

/** Inside the other one's provider: second by second, what they see of somebody whose link is cut. */
function Cut({ userId, byId, cutAtMs }: CutProps): ReactElement | null {
  const { user } = useUser(userId)
  const isSeen = user?.isOnline === true
  const [goneAtMs, setGoneAtMs] = useState<number | null>(null)
  const nowMs = useNow(cutAtMs === null ? null : TICK_MS)
  useEffect(() => {
    if (cutAtMs === null) setGoneAtMs(null)
    else if (!isSeen) setGoneAtMs((known) => known ?? Date.now())
  }, [cutAtMs, isSeen])
  if (cutAtMs === null) return null

  const seconds = (ms: number): number => Math.max(0, Math.round((ms - cutAtMs) / 1000))
  const passed = seconds(nowMs)
  const gone = goneAtMs === null ? null : seconds(goneAtMs)
  const { name } = shownName(nameless(userId))
  const by = shownName(nameless(byId)).name
  return (
    <div className="cut">
      <p role="status">
        {gone === null
          ? `${name}’s link is cut. ${by} still sees ${name} as online: the server waits for a new connection.`
          : `${by} sees ${name} as offline, ${gone} s after the cut.`}
      </p>
      <p className="ticks" aria-hidden="true">
        {Array.from({ length: Math.min(passed + 1, MAX_TICKS) }, (_, second) => (
          // biome-ignore lint/suspicious/noArrayIndexKey: a second is its own key
          <span key={second} data-seen={gone === null || second < gone} />
        ))}
        <span className="passed">{`${passed} s`}</span>
      </p>
    </div>
  )
}
