/** A part of the README that is printed from elsewhere, between two marks. */
import { readFileSync, writeFileSync } from 'node:fs'

const path = new URL('../README.md', import.meta.url)

export interface ReadmePart {
  readonly begin: string
  readonly end: string
  readonly text: string
  /** What is said where it is not there as printed. */
  readonly complaint: string
}

/** Prints it; with `--check` on the command line it says whether it is there as printed, and fails where it is not. */
export function printIntoReadme({ begin, end, text, complaint }: ReadmePart): void {
  const readme = readFileSync(path, 'utf8')
  const [from, to] = [readme.indexOf(begin), readme.indexOf(end)]
  if (from === -1 || to === -1) throw new Error(`README.md has no ${begin} … ${end}.`)
  const printed = `${readme.slice(0, from)}${begin}\n${text}\n${end}${readme.slice(to + end.length)}`

  if (!process.argv.includes('--check')) {
    writeFileSync(path, printed)
  } else if (printed !== readme) {
    process.stderr.write(`${complaint}\n`)
    process.exitCode = 1
  }
}
