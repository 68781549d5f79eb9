/** The room that the tab is in, and how many are there and everywhere. */
import { useOnlineCount } from '@rollcall/client/react'
import { type FormEvent, type ReactElement, useId } from 'react'
import { Code } from './code.tsx'
import roomCode from './snippets/room.tsx?raw'

export interface RoomProps {
  readonly room: string | null
  /** Null: leaves it. */
  readonly onMove: (room: string | null) => void
}

export function Room({ room, onMove }: RoomProps): ReactElement {
  const everywhere = useOnlineCount().count
  const field = useId()

  function submit(event: FormEvent<HTMLFormElement>): void {
    event.preventDefault()
    const name = String(new FormData(event.currentTarget).get('room')).trim()
    if (name !== '') onMove(name)
  }

  return (
    <section className="card" aria-labelledby="room-heading">
      <h2 id="room-heading">Rooms</h2>
      <p className="counts">
        {room !== null && <RoomCount room={room} />}
        <span>
          <strong>{everywhere?.toLocaleString() ?? '–'}</strong> online everywhere
        </span>
      </p>
      {room === null ? (
        <form className="beside" onSubmit={submit}>
          <label className="unseen" htmlFor={field}>
            Room to go to
          </label>
          <input
            id={field}
            name="room"
            required
            maxLength={128}
            autoComplete="off"
            autoCapitalize="none"
            spellCheck={false}
            placeholder="lobby"
          />
          <button type="submit">Go in</button>
        </form>
      ) : (
        <p className="actions">
          <button type="button" onClick={() => onMove(null)}>
            {`Leave ${room}`}
          </button>
        </p>
      )}
      <Code title="a room" text={roomCode} />
    </section>
  )
}

function RoomCount({ room }: { readonly room: string }): ReactElement {
  const { count } = useOnlineCount({ room })
  return (
    <span>
      <strong>{count?.toLocaleString() ?? '–'}</strong> in {room}
    </span>
  )
}
