/**
 * Texts that Postgres can keep: not those with a zero byte, nor with half of a surrogate pair, which has no UTF-8.
 * What clients send is held against src/presence/bounds.ts; this keeps one text that slipped through from stopping
 * everything that waits behind it.
 */
const UNSTORABLE = /\0|\p{Cs}/gu

export function storable(text: string): string {
  return text.replace(UNSTORABLE, '\u{fffd}')
}

export function jsonOf(value: unknown): string {
  return JSON.stringify(value, (_, part: unknown) => (typeof part === 'string' ? storable(part) : part))
}
