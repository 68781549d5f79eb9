/**
 * Texts that Postgres can keep: not those with a zero byte, nor with half of a surrogate pair, which has no UTF-8.
 * What clients send is held against src/presence/bounds.ts; this keeps one text that slipped through from stopping
 * everything that waits behind it.
 */
const UNSTORABLE = /\0|\p{Cs}/gu

export function storable(text: string): string {
  return text.replace(UNSTORABLE, '\u{fffd}')
}

/** How `JSON.stringify` writes such a text. What a text itself has after a backslash may look the same. */
const ESCAPED_UNSTORABLE = /\\u(?:0000|d[89a-f])/

/** A replacer costs several times what all the rest does, and almost never finds anything. */
export function jsonOf(value: unknown): string {
  const json = JSON.stringify(value)
  if (!ESCAPED_UNSTORABLE.test(json)) return json
  return JSON.stringify(value, (_, part: unknown) => (typeof part === 'string' ? storable(part) : part))
}
