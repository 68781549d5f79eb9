/** Users that one names, online or not. */
import { useUsers } from '@rollcall/client/react'
import { type FormEvent, type ReactElement, useId, useState } from 'react'
import { Code } from './code.tsx'
import { FreshnessMark } from './link.tsx'
import watchList from './snippets/watch-list.tsx?raw'
import { UserLine } from './user.tsx'

export function WatchList({ start }: { readonly start: readonly string[] }): ReactElement {
  const [ids, setIds] = useState(start)
  const { users, ...freshness } = useUsers(ids)
  const field = useId()

  function submit(event: FormEvent<HTMLFormElement>): void {
    event.preventDefault()
    const form = event.currentTarget
    const id = String(new FormData(form).get('id')).trim()
    if (id !== '' && !ids.includes(id)) setIds([...ids, id])
    form.reset()
  }

  return (
    <section className="card" aria-labelledby="watch-heading" data-state={freshness.state}>
      <div className="card-top">
        <h2 id="watch-heading">Watch list</h2>
        {ids.length > 0 && <FreshnessMark freshness={freshness} />}
      </div>
      <ul id="watched" className="people">
        {ids.map((id, index) => {
          const user = users[index]
          return (
            <li key={id} className="person watched">
              {user ? (
                <UserLine user={user} />
              ) : (
                <>
                  <span className="mark" data-status="OFFLINE" aria-hidden="true">
                    ?
                  </span>
                  <bdi className="who">{id}</bdi>
                  <span className="what">{freshness.state === 'live' ? 'Was never here' : 'Loading…'}</span>
                </>
              )}
              <button
                type="button"
                className="small remove"
                onClick={() => setIds(ids.filter((known) => known !== id))}
              >
                Remove<span className="unseen">{` ${id}`}</span>
              </button>
            </li>
          )
        })}
      </ul>
      <form className="beside" onSubmit={submit}>
        <label className="unseen" htmlFor={field}>
          Id to watch
        </label>
        <input
          id={field}
          name="id"
          required
          maxLength={256}
          autoComplete="off"
          autoCapitalize="none"
          spellCheck={false}
          placeholder="An id, such as carol"
        />
        <button type="submit">Watch</button>
      </form>
      <Code title="a watch list" text={watchList} />
    </section>
  )
}
