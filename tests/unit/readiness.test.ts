import { describe, expect, it } from 'vitest'
import { type Proof, readyTogether } from '../fault/readiness.ts'

const CLOSE_MS = 1000

function proofs(...pairs: readonly (readonly [number, number])[]): readonly Proof[] {
  return pairs.map(([fromMs, toMs]) => ({ fromMs, toMs }))
}

describe('two processes', () => {
  it('are ready together where one was between two answers of the other', () => {
    const one = proofs([0, 5], [100, 105], [200, 205])
    expect(readyTogether(one, proofs([50, 60]), CLOSE_MS)).toEqual(proofs([50, 60]))
    expect(readyTogether(proofs([50, 60]), one, CLOSE_MS)).toEqual(proofs([50, 60]))
    expect(readyTogether(proofs([0, 10], [20, 30]), proofs([12, 18], [32, 38]), CLOSE_MS)).toHaveLength(2)
  })

  it('are not where one came after the other', () => {
    const first = proofs([0, 5], [100, 105])
    expect(readyTogether(first, proofs([110, 115], [200, 205]), CLOSE_MS)).toEqual([])
    expect(readyTogether([], first, CLOSE_MS)).toEqual([])
  })

  it('may have been one after the other where answers overlap', () => {
    expect(readyTogether(proofs([0, 50]), proofs([40, 90]), CLOSE_MS)).toEqual([])
    expect(readyTogether(proofs([0, 50], [60, 110]), proofs([40, 70]), CLOSE_MS)).toEqual([])
  })

  it('may have handed over and back where a long time lies between', () => {
    const one = proofs([0, 5], [5000, 5005])
    expect(readyTogether(one, proofs([2000, 2005]), CLOSE_MS)).toEqual([])
  })
})
