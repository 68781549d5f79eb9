/** Who came, who went, and who changed, the newest first. */
import { usePresence } from '@rollcall/client/react'
import { type ReactElement, useEffect, useState } from 'react'
import { changesBetween, type SeenChange } from './changes.ts'
import { Code } from './code.tsx'
import changes from './snippets/changes.ts?raw'
import { changeWords, moment } from './words.ts'

const MAX_ENTRIES = 8
/** Changes come in bursts, and people read slowly. */
const LOOK_INTERVAL_MS = 200

interface Entry {
  readonly number: number
  readonly at: string
  readonly words: string
}

export interface FeedProps {
  readonly room: string | null
  /** Whom the link in an empty feed signs in. */
  readonly otherId: string
}

export function Feed({ room, otherId }: FeedProps): ReactElement {
  const entries = useEntries(room)
  const address = `./?${new URLSearchParams({ user: otherId, ...(room === null ? {} : { room }) })}`
  return (
    <section className="card" aria-labelledby="log-heading">
      <h2 id="log-heading">What happened</h2>
      <div role="log" aria-labelledby="log-heading">
        <ol id="log" className="log">
          {entries.map(({ number, at, words }) => (
            <li key={number}>
              <time dateTime={at}>{moment(at)}</time>
              <span>{words}</span>
            </li>
          ))}
        </ol>
      </div>
      <p className="hint">
        {entries.length === 0 && 'Nothing yet. '}
        <a id="other-tab" href={address} target="_blank" rel="noopener">
          {`Open a tab as ${otherId}.`}
        </a>
      </p>
      <Code title="the changes" text={changes} />
    </section>
  )
}

function useEntries(room: string | null): readonly Entry[] {
  const presence = usePresence()
  const [entries, setEntries] = useState<readonly Entry[]>([])
  useEffect(() => {
    const store = presence.onlineUsers({ room })
    let before = store.getSnapshot()
    let wasRead = before.state === 'live'
    let count = 0

    function tell(seen: readonly SeenChange[]): void {
      const at = new Date().toISOString()
      const next = seen.slice(-MAX_ENTRIES).map((change) => {
        count += 1
        return { number: count, at, words: changeWords(change, room) }
      })
      setEntries((known) => [...next.reverse(), ...known].slice(0, MAX_ENTRIES))
    }

    function look(): void {
      const after = store.getSnapshot()
      if (after === before) return
      // The first list says who was there before.
      if (wasRead && after.users !== before.users) {
        const seen = changesBetween(before.users, after.users)
        if (seen.length > 0) tell(seen)
      }
      wasRead ||= after.state === 'live'
      before = after
    }

    setEntries([])
    // The list is followed while its ids are.
    const stop = store.ids.subscribe(() => {})
    const timer = setInterval(look, LOOK_INTERVAL_MS)
    return () => {
      stop()
      clearInterval(timer)
    }
  }, [presence, room])
  return entries
}
