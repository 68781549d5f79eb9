/**
 * A door into a server for the measuring of its memory: loaded before it by `node --expose-gc --import`, so that what
 * a server holds is told apart from what it has not yet thrown away. No server has such a door of its own.
 */
process.on('message', () => {
  globalThis.gc?.()
  const { heapUsed, external } = process.memoryUsage()
  process.send?.({ heapUsed, external })
})
process.channel?.unref()
