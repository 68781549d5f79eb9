/** Who came, who went, and who changed, the newest first. */
import { usePresence } from '@rollcall/client/react'
import { type ReactElement, useEffect, useState } from 'react'
import { changesBetween } from './changes.ts'
import { Code } from './code.tsx'
import changes from './snippets/changes.ts?raw'
import { changeWords, moment } from './words.ts'

const MAX_ENTRIES = 8
/** Changes come in bursts, and people read slowly. */
const SHOW_INTERVAL_MS = 200

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
    let next: Entry[] = []

    function look(): void {
      const after = store.getSnapshot()
      // The first list says who was there before.
      const seen = wasRead && after.users !== before.users ? changesBetween(before.users, after.users) : []
      for (const change of seen.slice(-MAX_ENTRIES)) {
        count += 1
        next.push({ number: count, at: new Date().toISOString(), words: changeWords(change, room) })
      }
      next = next.slice(-MAX_ENTRIES)
      wasRead ||= after.state === 'live'
      before = after
    }

    function show(): void {
      if (next.length === 0) return
      const latest = next.reverse()
      next = []
      setEntries((known) => [...latest, ...known].slice(0, MAX_ENTRIES))
    }

    setEntries([])
    const stop = store.subscribe(look)
    const timer = setInterval(show, SHOW_INTERVAL_MS)
    return () => {
      stop()
      clearInterval(timer)
    }
  }, [presence, room])
  return entries
}
