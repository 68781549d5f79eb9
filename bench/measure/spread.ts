/** What is said of many measurements of the same thing. */

export interface Spread {
  readonly median: number
  readonly least: number
  readonly most: number
}

export function spreadOf(values: readonly number[]): Spread {
  return { median: quantileOf(values, 0.5), least: Math.min(...values), most: Math.max(...values) }
}

/** @param share - 0.5 is the median, 0.99 the value that one in a hundred is above */
export function quantileOf(values: readonly number[], share: number): number {
  if (values.length === 0) return Number.NaN
  const sorted = Float64Array.from(values).sort()
  const rank = Math.ceil(share * sorted.length) - 1
  return sorted[Math.min(sorted.length - 1, Math.max(0, rank))] as number
}
