/**
 * A door into a server for what only its own process can measure, loaded before it by `node --import`. No server has such
 * a door of its own.
 *
 * `collect`, with `--expose-gc`: the bytes that it holds, told apart from what it has not yet thrown away. `stall`: the
 * longest time since the last question in which its event loop stood.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks'

const RESOLUTION_MS = 1
const delays = monitorEventLoopDelay({ resolution: RESOLUTION_MS })
delays.enable()

/** More garbage than V8's young generation takes, which is 16 MB three times. */
const OBJECT_COUNT = 4_000_000

process.on('message', (question) => {
  if (question === 'stall') {
    process.send?.({ stallMs: Math.max(0, delays.max / 1e6 - RESOLUTION_MS) })
    delays.reset()
    return
  }
  touch()
  globalThis.gc?.()
  const { heapUsed, external } = process.memoryUsage()
  process.send?.({ heapUsed, external })
})
process.channel?.unref()

/** Writes to every page of the young generation: else it would be at the first look where it was not at the next. */
function touch() {
  let last = null
  for (let number = 0; number < OBJECT_COUNT; number += 1) last = { number, last: number % 2 === 0 ? null : last }
  return last
}
