/** Warns the operator of a Redis or Valkey with known vulnerabilities: once per version, not on each connection. */
import type { OperatorLog } from '../../presence/operator-log.ts'
import { sentenceOf, whyServerUnsafe } from '../../versions.ts'

/** @returns a function that takes the answer of `INFO server` */
export function createVersionWatch(log: Pick<OperatorLog, 'warn'>): (facts: string) => void {
  let warnedOf: string | null = null

  return function look(facts) {
    const unsafe = whyServerUnsafe(facts)
    if (unsafe === null) {
      warnedOf = null
      return
    }
    const name = `${unsafe.product} ${unsafe.version}`
    if (name === warnedOf) return
    warnedOf = name
    log.warn({ ...unsafe }, sentenceOf(unsafe))
  }
}
