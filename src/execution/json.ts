/** JSON of which some parts are text already. */

/**
 * From this length on a list is put together as bytes: that takes a third of the time, and they are written to many
 * sockets without a copy.
 */
const MIN_LIST_BYTES = 8 * 1024

/**
 * The UTF-8 bytes of a text, one character each: the form that sockets are written in. V8 keeps it with one byte a
 * character, and its length is that of the message.
 */
export function latin1(text: string): string {
  return Buffer.byteLength(text) === text.length ? text : Buffer.from(text).toString('latin1')
}

/** Some bytes, as they are or by `latin1`. */
export type Bytes = string | Buffer

/** A value whose JSON is known. What knows only `JSON.stringify` writes the same from it, more slowly. */
export class JsonText {
  readonly bytes: Bytes

  constructor(bytes: Bytes) {
    this.bytes = bytes
  }

  /** @param items - by `latin1` */
  static ofList(items: readonly string[]): JsonText {
    let byteCount = 2 + Math.max(0, items.length - 1)
    for (const item of items) byteCount += item.length
    return new JsonText(byteCount < MIN_LIST_BYTES ? `[${items.join(',')}]` : bytesOfList(items, byteCount))
  }

  toJSON(): unknown {
    return JSON.parse(decoded([this.bytes]))
  }
}

function bytesOfList(items: readonly string[], byteCount: number): Buffer {
  const bytes = Buffer.allocUnsafe(byteCount)
  let end = 0
  for (const item of items) {
    end += bytes.write(end === 0 ? '[' : ',', end, 'latin1')
    end += bytes.write(item, end, 'latin1')
  }
  bytes.write(']', end, 'latin1')
  return bytes
}

/** `JSON.stringify`, which takes each `JsonText` in objects and lists as it is. */
export function stringify(value: unknown): string {
  return decoded(jsonBytes(value))
}

/** What `stringify` writes, as bytes in their order. */
export function jsonBytes(value: unknown): Bytes[] {
  const json = new Json()
  json.add(value)
  return json.end()
}

function decoded(bytes: readonly Bytes[]): string {
  return Buffer.concat(bytes.map((part) => (typeof part === 'string' ? Buffer.from(part, 'latin1') : part))).toString()
}

class Json {
  readonly #parts: Bytes[] = []
  /** What is written since the last part. V8 copies a sum of texts once, at its end. */
  #text = ''

  /** As `JSON.stringify`, which writes null for what JSON cannot say in a list, and leaves such a field out. */
  add(value: unknown): void {
    if (value instanceof JsonText) this.#addBytes(value.bytes)
    else if (typeof value !== 'object' || value === null || 'toJSON' in value) {
      this.#text += latin1((JSON.stringify(value) as string | undefined) ?? 'null')
    } else if (Array.isArray(value)) this.#addItems(value)
    else this.#addFields(value)
  }

  end(): Bytes[] {
    this.#parts.push(this.#text)
    return this.#parts
  }

  #addBytes(bytes: Bytes): void {
    if (typeof bytes === 'string') {
      this.#text += bytes
      return
    }
    this.#parts.push(this.#text, bytes)
    this.#text = ''
  }

  #addItems(items: readonly unknown[]): void {
    let separator = '['
    for (const item of items) {
      this.#text += separator
      this.add(item)
      separator = ','
    }
    this.#text += items.length === 0 ? '[]' : ']'
  }

  #addFields(fields: object): void {
    let separator = '{'
    for (const [name, field] of Object.entries(fields)) {
      if (field === undefined || typeof field === 'function' || typeof field === 'symbol') continue
      this.#text += `${separator}${latin1(JSON.stringify(name))}:`
      this.add(field)
      separator = ','
    }
    this.#text += separator === '{' ? '{}' : '}'
  }
}
