/**
 * A list of any length, of which only what is seen is in the document: all rows have one height, and what lies above and
 * below is blank.
 */
import { type ReactElement, useCallback, useLayoutEffect, useRef, useState } from 'react'

/** Rows above and below what is seen, so that a quick scroll shows no blank. */
const SPARE_ROWS = 6

export interface LongListProps {
  readonly id: string
  readonly labelledBy: string
  readonly keys: readonly string[]
  /** In px, as the style sheet has it. */
  readonly rowHeight: number
  /** Has to give an `li` with `aria-posinset` and `aria-setsize`. */
  readonly children: (key: string, position: number, count: number) => ReactElement
}

export function LongList({ id, labelledBy, keys, rowHeight, children }: LongListProps): ReactElement {
  const frame = useRef<HTMLDivElement>(null)
  const [first, setFirst] = useState(0)
  const [room, setRoom] = useState(SPARE_ROWS)

  const look = useCallback(() => {
    if (!frame.current) return
    // In steps, so that not every pixel of a scroll renders the list again.
    setFirst(Math.floor(frame.current.scrollTop / rowHeight / SPARE_ROWS) * SPARE_ROWS)
    setRoom(Math.ceil(frame.current.clientHeight / rowHeight))
  }, [rowHeight])

  useLayoutEffect(() => {
    if (!frame.current) return
    const observer = new ResizeObserver(look)
    observer.observe(frame.current)
    look()
    return () => observer.disconnect()
  }, [look])

  const from = Math.max(0, Math.min(first, keys.length - room) - SPARE_ROWS)
  const to = Math.min(keys.length, first + room + 2 * SPARE_ROWS)
  return (
    // biome-ignore lint/a11y/useSemanticElements: a fieldset is for what one fills in, and a section is a landmark
    <div
      ref={frame}
      className="long"
      role="group"
      aria-labelledby={labelledBy}
      // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reached by the keyboard
      tabIndex={0}
      onScroll={look}
    >
      <ul
        id={id}
        className="people"
        // biome-ignore lint/a11y/noRedundantRoles: Safari takes the role from a list without marks
        role="list"
        style={{ paddingBlock: `${from * rowHeight}px ${(keys.length - to) * rowHeight}px` }}
      >
        {keys.slice(from, to).map((key, index) => children(key, from + index + 1, keys.length))}
      </ul>
    </div>
  )
}
