/** A process that does nothing but look how late its own event loop is. Started by waiting.ts. */
import { watchLoopDelay } from './waiting.ts'

let tell = watchLoopDelay()
process.on('message', (question) => {
  if (question === 'watch') tell = watchLoopDelay()
  process.send?.(question === 'watch' ? 'watches' : tell())
})
process.send?.('is there')
