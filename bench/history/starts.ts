/** The built server on a history: how long a start takes, and what each user's first heartbeat takes. */
import { post } from '../../tests/support/clients.ts'
import { startProcess } from '../../tests/support/process.ts'
import { DEFAULTS } from '../../tests/support/server.ts'
import { quantileOf } from '../measure/spread.ts'
import { toBeUndone } from '../processes.ts'
import { print } from './fill.ts'

const SIGN_INS = 500

export async function starts(url: string): Promise<void> {
  for (const what of ['start', 'restart']) {
    const fromMs = performance.now()
    const server = await startProcess({ ...DEFAULTS, DATABASE_URL: url })
    const end = toBeUndone(async () => void (await server.end('SIGTERM')))
    print(`${what}: ready after ${(performance.now() - fromMs).toFixed(0)} ms`)
    for (const [who, name] of [
      ['users of the history', 'user-'],
      ['new users', `${what}-`],
    ]) {
      const tookMs: number[] = []
      for (let index = 1; index <= SIGN_INS; index += 1) {
        const sentAtMs = performance.now()
        const { errors } = await post(server, `dev:${name}${index}`, 'mutation { heartbeat { nextHeartbeatInMs } }')
        if (errors !== undefined) throw new Error(JSON.stringify(errors))
        tookMs.push(performance.now() - sentAtMs)
      }
      print(
        `  first heartbeat of ${SIGN_INS} ${who}: p50 ${quantileOf(tookMs, 0.5).toFixed(1)} ms, ` +
          `p99 ${quantileOf(tookMs, 0.99).toFixed(1)} ms`,
      )
    }
    await end()
  }
}
