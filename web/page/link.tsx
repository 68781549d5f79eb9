/** What the kit says of the connection, and of how right a list is. */
import type { Freshness, PresenceStatus } from '@rollcall/client'
import { useLink, useMyPresence } from '@rollcall/client/react'
import type { ReactElement } from 'react'
import { useIsComing, useNow } from './person.ts'
import { freshnessWords, linkWords, ownStateWords } from './words.ts'

const COUNTDOWN_MS = 250

/** "Connected", or why not, when it is tried again, and a way not to wait. */
export function LinkState(): ReactElement {
  const link = useLink()
  return (
    <div className="link" data-state={link.state}>
      {link.state === 'waiting' ? <Countdown untilMs={link.retryAt.getTime()} /> : linkWords(link)}
      {(link.state === 'waiting' || link.state === 'failed') && (
        <button type="button" className="small" onClick={link.retryNow}>
          {link.state === 'waiting' ? 'Try now' : 'Try again'}
        </button>
      )}
    </div>
  )
}

function Countdown({ untilMs }: { readonly untilMs: number }): ReactElement {
  const nowMs = useNow(COUNTDOWN_MS)
  return <span className="countdown">{`Trying again in ${Math.max(0, Math.ceil((untilMs - nowMs) / 1000))} s`}</span>
}

/** The status that the person is shown with to others, as far as this page knows. */
export function useShownStatus(hasLeft: boolean): PresenceStatus {
  const { viewer, state } = useMyPresence()
  const isShown = useLink().state === 'open' && state === 'live' && !hasLeft && viewer?.visibility === 'EVERYONE'
  return isShown ? viewer.status : 'OFFLINE'
}

/** What others see of the person, in one sentence. Screen readers read it when it changes. */
export function OwnState({ id, hasLeft }: { readonly id?: string; readonly hasLeft: boolean }): ReactElement {
  const { viewer, state } = useMyPresence()
  const link = useLink()
  const isComing = useIsComing(viewer !== null && !viewer.isOnline && !hasLeft)
  return (
    <p id={id} className="own-state" role="status">
      {ownStateWords({ viewer, isStale: state === 'stale', link, hasLeft, isComing })}
    </p>
  )
}

export function FreshnessMark({
  id,
  freshness,
}: {
  readonly id?: string
  readonly freshness: Freshness
}): ReactElement {
  return (
    <span id={id} className="freshness" data-state={freshness.state} role="status">
      {freshnessWords(freshness)}
    </span>
  )
}

/** Of a snapshot, without its users: React's development build reads all that it is given as a prop. */
export function freshnessOf({ state, since, error }: Freshness): Freshness {
  return { state, since, error } as Freshness
}
