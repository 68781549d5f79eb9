/** The one caller, in a process of its own: does a deed for so long. */
import { setPriority } from 'node:os'
import { DEEDS } from './deeds.ts'

// It is not the server's fault where it takes a core from those who measure.
setPriority(19)
const [name = '', url = '', token = '', forMs = ''] = process.argv.slice(2)
const deed = DEEDS[name]
if (deed === undefined) throw new Error(`There is no deed ${name}.`)
const endsAtMs = performance.now() + Number(forMs)
await deed({ url, token, isOver: () => performance.now() >= endsAtMs })
process.exit(0)
