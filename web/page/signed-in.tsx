/** One person, signed in alone: what they do, whom they see, and what happened. */
import { PresenceProvider, useLink, useMyPresence } from '@rollcall/client/react'
import { type ReactElement, useCallback, useEffect, useRef, useState } from 'react'
import { Code } from './code.tsx'
import { Controls } from './controls.tsx'
import { Feed } from './feed.tsx'
import { LinkState, OwnState, useShownStatus } from './link.tsx'
import { Online } from './online.tsx'
import { type Person, usePerson } from './person.ts'
import { Room } from './room.tsx'
import { Sessions } from './sessions.tsx'
import appearOffline from './snippets/appear-offline.tsx?raw'
import linkState from './snippets/link-state.tsx?raw'
import { isToken, type TabMemory, tokenOf } from './tab-memory.ts'
import { Name } from './user.tsx'
import { WatchList } from './watch-list.tsx'
import { initial } from './words.ts'

export interface SignedInProps {
  readonly memory: TabMemory
  /** The field that had the focus is gone. */
  readonly takesFocus: boolean
  readonly onRemember: (memory: TabMemory) => void
  readonly onSignedOut: () => void
}

export function SignedIn({ memory, takesFocus, onRemember, onSignedOut }: SignedInProps): ReactElement {
  const { identity } = memory
  const [room, setRoom] = useState(memory.room)
  const onLeft = useCallback(
    (hasLeft: boolean) => onRemember({ identity, room, hasLeft }),
    [identity, room, onRemember],
  )
  const person = usePerson({ token: tokenOf(identity), room, startsOffline: memory.hasLeft, onLeft })
  const { presence, hasLeft } = person

  function move(next: string | null): void {
    onRemember({ identity, room: next, hasLeft })
    setRoom(next)
  }

  async function signOut(): Promise<void> {
    // Whom the server refused has no session there, and a token that would be refused again.
    if (presence.link.getSnapshot().state === 'failed') presence.close()
    else await presence.signOut()
    onSignedOut()
  }

  const otherId = identity === 'bob' ? 'alice' : 'bob'
  return (
    <PresenceProvider presence={presence}>
      <div className="signed-in">
        <You person={person} identity={identity} takesFocus={takesFocus} onSignOut={signOut} />
        <Online key={room} room={room} />
        <div className="side">
          <Room room={room} onMove={move} />
          <WatchList start={[otherId]} />
        </div>
        <div className="below">
          <Feed room={room} otherId={otherId} />
          <Sessions />
        </div>
      </div>
    </PresenceProvider>
  )
}

interface YouProps {
  readonly person: Person
  readonly identity: string
  readonly takesFocus: boolean
  readonly onSignOut: () => Promise<void>
}

function You({ person, identity, takesFocus, onSignOut }: YouProps): ReactElement {
  const { viewer } = useMyPresence()
  const { state } = useLink()
  const heading = useRef<HTMLHeadingElement>(null)
  useEffect(() => {
    if (takesFocus) heading.current?.focus()
  }, [takesFocus])
  const user = viewer?.user ?? { id: identity, name: isToken(identity) ? 'You' : identity }
  const status = useShownStatus(person.hasLeft)
  return (
    <section className="card you-card" aria-labelledby="you-heading">
      <h2 id="you-heading" tabIndex={-1} ref={heading}>
        <span className="unseen">You: </span>
        <span className="mark" data-status={status} aria-hidden="true">
          {initial(user.name)}
        </span>
        <Name user={user} />
      </h2>
      <OwnState id="own-state" hasLeft={person.hasLeft} />
      <LinkState />
      <Controls person={person}>
        <button type="button" className="plain" onClick={() => void onSignOut()}>
          {state === 'failed' ? 'Sign in again' : 'Sign out'}
        </button>
      </Controls>
      <p className="hint">
        <a href="./" target="_blank" rel="noopener">
          Alice and Bob side by side
        </a>
      </p>
      <Code title="appear offline" text={appearOffline} />
      <Code title="the link" text={linkState} />
    </section>
  )
}
