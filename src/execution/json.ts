/** JSON of which some parts are text already. */

/** A value whose JSON is known. What only knows `JSON.stringify` writes the same from it, more slowly. */
export class JsonText {
  readonly text: string

  constructor(text: string) {
    this.text = text
  }

  toJSON(): unknown {
    return JSON.parse(this.text)
  }
}

/** `JSON.stringify`, which takes each `JsonText` in objects and lists as it is. */
export function stringify(value: unknown): string {
  if (value instanceof JsonText) return value.text
  if (typeof value !== 'object' || value === null || 'toJSON' in value) return JSON.stringify(value)
  if (Array.isArray(value)) return `[${value.map((item) => stringify(item) ?? 'null').join(',')}]`
  const fields: string[] = []
  for (const [name, field] of Object.entries(value)) {
    const text = stringify(field)
    // As `JSON.stringify`, which leaves out what JSON cannot say.
    if (text !== undefined) fields.push(`${JSON.stringify(name)}:${text}`)
  }
  return `{${fields.join(',')}}`
}
