/** The form that asks who it is. */
import { type FormEvent, type ReactElement, useEffect, useRef } from 'react'

export interface SignInFormProps {
  readonly takesFocus?: boolean
  readonly onSignIn: (identity: string, room: string) => void
}

export function SignInForm({ takesFocus = false, onSignIn }: SignInFormProps): ReactElement {
  const field = useRef<HTMLInputElement>(null)
  useEffect(() => {
    if (takesFocus) field.current?.focus()
  }, [takesFocus])

  function submit(event: FormEvent<HTMLFormElement>): void {
    event.preventDefault()
    const data = new FormData(event.currentTarget)
    const identity = String(data.get('identity')).trim()
    if (identity !== '') onSignIn(identity, String(data.get('room')))
  }

  return (
    <form className="sign-in" onSubmit={submit}>
      <div className="field">
        <label htmlFor="identity">User id</label>
        <input
          ref={field}
          id="identity"
          name="identity"
          required
          maxLength={4096}
          autoComplete="username"
          autoCapitalize="none"
          spellCheck={false}
          placeholder="carol"
          aria-describedby="identity-hint"
        />
        <p id="identity-hint" className="hint">
          Any id will do while the server runs in development. In production, paste a token of yours.
        </p>
      </div>
      <div className="field">
        <label htmlFor="room">
          Room <span className="optional">(optional)</span>
        </label>
        <input
          id="room"
          name="room"
          maxLength={128}
          autoComplete="off"
          autoCapitalize="none"
          spellCheck={false}
          aria-describedby="room-hint"
        />
        <p id="room-hint" className="hint">
          You see who is in it. Left empty, you see everyone.
        </p>
      </div>
      <p className="actions">
        <button type="submit" className="primary">
          Go online
        </button>
      </p>
    </form>
  )
}

export interface SignInProps extends SignInFormProps {
  /** Why the form is shown. */
  readonly note: string | null
}

export function SignIn({ note, takesFocus = false, onSignIn }: SignInProps): ReactElement {
  return (
    <section className="card narrow" aria-labelledby="sign-in-heading">
      <h2 id="sign-in-heading">Who are you?</h2>
      {note !== null && <p className="notice">{note}</p>}
      <SignInForm takesFocus={takesFocus} onSignIn={onSignIn} />
      {note === null && (
        <p className="hint">
          Or see <a href="./">Alice and Bob side by side</a>.
        </p>
      )}
    </section>
  )
}
