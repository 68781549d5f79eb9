/** The processes that a browser starts: those that run its pages can be stopped, as a machine that sleeps stops them. */
import { readdir, readFile } from 'node:fs/promises'

/** @param isWanted - told the name as /proc has it, cut to 15 characters, and the command line */
export async function descendants(
  ancestor: number,
  isWanted: (name: string, commandLine: string) => boolean,
): Promise<readonly number[]> {
  const parents = new Map<number, number>()
  const wanted: number[] = []
  for (const entry of await readdir('/proc')) {
    if (!/^\d+$/.test(entry)) continue
    const stat = await readFile(`/proc/${entry}/stat`, 'utf8').catch(() => '')
    const commandLine = await readFile(`/proc/${entry}/cmdline`, 'utf8').catch(() => '')
    const [, name = '', parent] = stat.match(/^\d+ \((.*)\) \S (\d+)/s) ?? []
    parents.set(Number(entry), Number(parent))
    if (isWanted(name, commandLine)) wanted.push(Number(entry))
  }
  return wanted.filter((pid) => {
    for (let found: number | undefined = pid; found !== undefined && found > 1; found = parents.get(found)) {
      if (found === ancestor) return true
    }
    return false
  })
}
