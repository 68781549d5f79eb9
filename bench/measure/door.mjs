/**
 * A door into a server for the measuring of its memory: loaded before it by `node --expose-gc --import`, so that what
 * a server holds is told apart from what it has not yet thrown away. No server has such a door of its own.
 */

/** More garbage than V8's young generation takes, which is 16 MB three times. */
const OBJECT_COUNT = 4_000_000

process.on('message', () => {
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
