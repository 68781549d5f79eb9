/** What a person does about how others see them. */
import type { StatusChoice } from '@rollcall/client'
import { useLink, useMyPresence } from '@rollcall/client/react'
import { type ComponentProps, type ReactElement, type ReactNode, useId, useLayoutEffect, useRef, useState } from 'react'
import type { Person } from './person.ts'

const CHOICES: readonly { readonly value: StatusChoice; readonly label: string }[] = [
  { value: 'AUTOMATIC', label: 'Automatic' },
  { value: 'AWAY', label: 'Away' },
  { value: 'BUSY', label: 'Busy' },
]
/** The server's bound. */
const MAX_MESSAGE_LENGTH = 140

export interface ControlsProps {
  readonly person: Person
  /** More buttons beside those of every person. */
  readonly children?: ReactNode
}

export function Controls({ person, children }: ControlsProps): ReactElement {
  const { viewer, setStatus, setVisibility } = useMyPresence()
  const isEnabled = useLink().state === 'open' && viewer !== null
  const [problem, setProblem] = useState<string | null>(null)
  const [asked, setAsked] = useState<StatusChoice | null>(null)
  /** Written, and not sent yet. */
  const [draft, setDraft] = useState<string | null>(null)
  const latestDraft = useRef<string | null>(null)
  const id = useId()
  const focus = useFocusAcross(isEnabled)

  /** Does what a control asks for, and says why where it cannot be done. */
  async function act(action: () => Promise<unknown>): Promise<void> {
    setProblem(null)
    try {
      await action()
    } catch (error) {
      setProblem(error instanceof Error ? error.message : String(error))
    }
  }

  function write(text: string | null): void {
    latestDraft.current = text
    setDraft(text)
  }

  async function choose(choice: StatusChoice): Promise<void> {
    setAsked(choice)
    await act(() => setStatus(choice))
    setAsked(null)
  }

  function send(): Promise<void> {
    const text = draft ?? viewer?.statusMessage ?? ''
    const message = text.trim()
    return act(async () => {
      await setStatus(viewer?.statusChoice ?? 'AUTOMATIC', message === '' ? null : message)
      // What was written while it was sent is another one.
      if (latestDraft.current === text) write(null)
    })
  }

  const isHidden = viewer?.visibility === 'NOBODY'
  const isCut = person.cutAtMs !== null
  return (
    <form
      className="controls"
      {...focus}
      onSubmit={(event) => {
        event.preventDefault()
        void send()
      }}
    >
      <fieldset className="choices" disabled={!isEnabled}>
        <legend className="unseen">Status</legend>
        {CHOICES.map(({ value, label }) => (
          <label key={value}>
            <input
              type="radio"
              name={`choice-${id}`}
              value={value}
              checked={(asked ?? viewer?.statusChoice ?? 'AUTOMATIC') === value}
              onChange={() => void choose(value)}
            />
            <span>{label}</span>
          </label>
        ))}
      </fieldset>
      <div className="beside">
        <label className="unseen" htmlFor={`message-${id}`}>
          Message
        </label>
        <input
          id={`message-${id}`}
          className="message-field"
          maxLength={MAX_MESSAGE_LENGTH}
          autoComplete="off"
          placeholder="A message, such as: back at two"
          value={draft ?? viewer?.statusMessage ?? ''}
          onChange={({ target }) => write(target.value)}
        />
        <button type="submit" disabled={!isEnabled}>
          Set
        </button>
      </div>
      <p className="actions">
        <button
          type="button"
          disabled={!isEnabled}
          onClick={() => void act(() => setVisibility(isHidden ? 'EVERYONE' : 'NOBODY'))}
        >
          {isHidden ? 'Show me again' : 'Appear offline'}
        </button>
        <button
          type="button"
          disabled={!isEnabled}
          onClick={() => void act(() => (person.hasLeft ? person.comeBack() : person.leave()))}
        >
          {person.hasLeft ? 'Come back' : 'Go offline'}
        </button>
        <button
          type="button"
          onClick={() => {
            if (!isCut) return person.cable.cut()
            person.cable.mend()
            person.presence.retryNow()
          }}
        >
          {isCut ? 'Mend the link' : 'Cut the link'}
        </button>
        {children}
      </p>
      {problem !== null && (
        <p className="notice" role="alert">
          {problem}
        </p>
      )}
    </form>
  )
}

/** A control that is disabled loses its focus: it gets it back when it is enabled again. */
function useFocusAcross(isEnabled: boolean): Pick<ComponentProps<'form'>, 'onFocus' | 'onBlur'> {
  const focused = useRef<HTMLElement | null>(null)
  useLayoutEffect(() => {
    const { activeElement, body } = document
    if (isEnabled && (activeElement === body || activeElement === null)) focused.current?.focus()
  }, [isEnabled])
  return {
    onFocus({ target }) {
      focused.current = target
    },
    onBlur({ target }) {
      // The person went elsewhere.
      if (!target.matches(':disabled')) focused.current = null
    },
  }
}
