/** A part of a document that is printed from elsewhere, between two marks. */
import { readFileSync, writeFileSync } from 'node:fs'

export interface PrintedPart {
  /** The document, from the root of the project. */
  readonly file: string
  readonly begin: string
  readonly end: string
  readonly text: string
  /** Where the text comes from. */
  readonly source: string
  /** What prints it. */
  readonly command: string
}

/** Prints the part; with `--check` on the command line it checks that the document has it as printed, and fails if not. */
export function printPart({ file, begin, end, text, source, command }: PrintedPart): void {
  const path = new URL(`../${file}`, import.meta.url)
  const document = readFileSync(path, 'utf8')
  const [from, to] = [document.indexOf(begin), document.indexOf(end)]
  if (from === -1 || to === -1) throw new Error(`${file} has no ${begin} … ${end}.`)
  const printed = `${document.slice(0, from)}${begin}\n${text}\n${end}${document.slice(to + end.length)}`

  if (!process.argv.includes('--check')) {
    writeFileSync(path, printed)
  } else if (printed !== document) {
    process.stderr.write(`${file} does not match ${source}: run \`${command}\`.\n`)
    process.exitCode = 1
  }
}
