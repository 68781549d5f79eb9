/** The lines of code that make a part of the page, to copy. */
import { type ReactElement, useEffect, useRef, useState } from 'react'

const COPIED_MS = 2000

export interface CodeProps {
  /** What it makes. */
  readonly title: string
  /** The text of a file in `snippets`, which is type-checked. */
  readonly text: string
  /** Shown from the start. */
  readonly isOpen?: boolean
}

export function Code({ title, text, isOpen = false }: CodeProps): ReactElement {
  const code = text.trim()
  const [isCopied, setIsCopied] = useState(false)
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined)
  useEffect(() => () => clearTimeout(timer.current), [])

  async function copy(): Promise<void> {
    if (!(await copyText(code))) return
    setIsCopied(true)
    clearTimeout(timer.current)
    timer.current = setTimeout(setIsCopied, COPIED_MS, false)
  }

  return (
    <details className="code" open={isOpen}>
      <summary>{`Code: ${title}`}</summary>
      <button type="button" className="small" onClick={() => void copy()}>
        {isCopied ? 'Copied' : 'Copy'}
        <span className="unseen">{` the code: ${title}`}</span>
      </button>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reached by the keyboard */}
      <pre tabIndex={0}>
        <code>{code}</code>
      </pre>
    </details>
  )
}

/** `navigator.clipboard` exists only on https and localhost. */
async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text)
    return true
  } catch {
    const { activeElement } = document
    const field = document.createElement('textarea')
    field.className = 'unseen'
    field.value = text
    document.body.append(field)
    field.select()
    const isCopied = document.execCommand('copy')
    field.remove()
    if (activeElement instanceof HTMLElement) activeElement.focus()
    return isCopied
  }
}
