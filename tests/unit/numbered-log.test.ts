import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createNumberedLog } from '../../src/presence/numbered-log.ts'

describe('a numbered log', () => {
  it('holds what was put in and not dropped, whatever came when', () => {
    const step = fc.oneof(
      fc.record({ pushed: fc.integer({ min: 1, max: 2000 }) }),
      fc.record({ keptOf: fc.integer({ min: -2, max: 3000 }) }),
    )
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
        const log = createNumberedLog<{ seq: number }>()
        let held: number[] = []
        let lastSeq = 0
        for (const one of steps) {
          if ('pushed' in one) {
            for (let count = 0; count < one.pushed; count += 1) {
              lastSeq += 1
              log.push({ seq: lastSeq })
              held.push(lastSeq)
            }
          } else {
            const throughSeq = lastSeq - one.keptOf
            log.dropThrough(throughSeq)
            held = held.filter((seq) => seq > throughSeq)
          }
          const firstSeq = held[0] ?? lastSeq + 1
          expect([log.size(), log.lastSeq(), log.firstSeq()]).toEqual([held.length, lastSeq, firstSeq])
          expect([log.at(firstSeq - 1), log.at(firstSeq)?.seq, log.at(lastSeq + 1)]).toEqual([
            undefined,
            held[0],
            undefined,
          ])
          expect([log.reaches(firstSeq - 2), log.reaches(firstSeq - 1), log.reaches(lastSeq + 1)]).toEqual([
            false,
            true,
            false,
          ])
          expect(log.after(firstSeq, 3).map(({ seq }) => seq)).toEqual(held.slice(1, 4))
        }
      }),
      { numRuns: 50 },
    )
  })
})
