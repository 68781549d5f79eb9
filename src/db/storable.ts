/**
 * Matches text that Postgres cannot store: a zero byte, or half of a surrogate pair, which has no UTF-8.
 * src/presence/bounds.ts checks clients' input; this prevents one bad text from blocking all records behind it.
 */
const UNSTORABLE = /\0|\p{Cs}/gu

export function storable(text: string): string {
  return text.replace(UNSTORABLE, '\u{fffd}')
}

/** How `JSON.stringify` escapes such text. An escaped backslash in a text can look the same, which only costs time. */
const ESCAPED_UNSTORABLE = /\\u(?:0000|d[89a-f])/

/** Tests the JSON first, because a replacer takes several times as long and almost never finds anything. */
export function jsonOf(value: unknown): string {
  const json = JSON.stringify(value)
  if (!ESCAPED_UNSTORABLE.test(json)) return json
  return JSON.stringify(value, (_, part: unknown) => (typeof part === 'string' ? storable(part) : part))
}
