/** The person's own tabs and devices. */
import { useMyPresence } from '@rollcall/client/react'
import type { ReactElement } from 'react'
import { Code } from './code.tsx'
import sessionsCode from './snippets/sessions.tsx?raw'
import { moment } from './words.ts'

export function Sessions(): ReactElement {
  const { viewer } = useMyPresence()
  return (
    <section className="card" aria-labelledby="sessions-heading">
      <h2 id="sessions-heading">Your tabs and devices</h2>
      <ul id="sessions" className="sessions">
        {viewer?.sessions.map(({ id, device, rooms, startedAt, isCurrent }) => (
          <li key={id}>
            <span className="name">{device ?? 'A device without a name'}</span>
            {isCurrent && <span className="you">this tab</span>}
            <span className="what">
              {rooms.length > 0 && `in ${rooms.join(', ')}, `}
              since <time dateTime={startedAt}>{moment(startedAt)}</time>
            </span>
          </li>
        ))}
      </ul>
      {viewer?.sessions.length === 0 && <p className="hint">None is online.</p>}
      <Code title="your sessions" text={sessionsCode} />
    </section>
  )
}
