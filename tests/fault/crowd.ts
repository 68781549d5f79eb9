/** Thousands of sockets in a process of their own: tests/fault/storm-clients.ts. */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

const CLIENTS = fileURLToPath(new URL('./storm-clients.ts', import.meta.url))

/** @param cleanups - what ends it, whatever becomes of the test */
export async function startClients(cleanups: { push(cleanup: () => Promise<void>): unknown }): Promise<ChildProcess> {
  const child = fork(CLIENTS, { execArgv: ['--import', 'tsx'] })
  cleanups.push(async () => {
    if (child.exitCode !== null) return
    const exited = once(child, 'exit')
    child.kill('SIGKILL')
    await exited
  })
  await once(child, 'message')
  return child
}
