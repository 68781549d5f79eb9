/** The same call on a small crowd and on a large one, in turn, so that whatever else the machine does falls on both. */
import { quantileOf, type Spread, spreadOf } from '../measure/spread.ts'

export interface Times {
  readonly p50Us: number
  readonly p99Us: number
}

export interface Comparison {
  readonly rounds: readonly { readonly small: Times; readonly large: Times }[]
}

type Call = () => Promise<unknown>

/** The first round is not counted: in it the code is compiled. */
export async function compare(
  calls: { readonly small: Call; readonly large: Call },
  {
    rounds,
    callsARound,
    afterRound = async () => {},
  }: {
    readonly rounds: number
    readonly callsARound: number
    readonly afterRound?: () => Promise<void>
  },
): Promise<Comparison> {
  const found: Comparison['rounds'][number][] = []
  for (let round = 0; round <= rounds; round += 1) {
    const small: number[] = []
    const large: number[] = []
    for (let index = 0; index < callsARound; index += 1) {
      small.push(await timeUs(calls.small))
      large.push(await timeUs(calls.large))
    }
    await afterRound()
    if (round > 0) found.push({ small: timesOf(small), large: timesOf(large) })
  }
  return { rounds: found }
}

/** How much longer the large crowd takes, round by round. */
export function ratioOf({ rounds }: Comparison, what: keyof Times): Spread {
  return spreadOf(rounds.map(({ small, large }) => large[what] / small[what]))
}

/** `p50 4.1 → 6.0 µs, ×1.46 (1.41 to 1.52); p99 …` */
export function sayComparison(comparison: Comparison): string {
  return (['p50Us', 'p99Us'] as const)
    .map((what) => {
      const { median, least, most } = ratioOf(comparison, what)
      const [small, large] = (['small', 'large'] as const).map((size) =>
        spreadOf(comparison.rounds.map((round) => round[size][what])).median.toFixed(2),
      )
      const range = `${least.toFixed(2)} to ${most.toFixed(2)}`
      return `${what.slice(0, 3)} ${small} → ${large} µs, ×${median.toFixed(2)} (${range})`
    })
    .join('; ')
}

async function timeUs(call: Call): Promise<number> {
  const startedAtMs = performance.now()
  await call()
  return (performance.now() - startedAtMs) * 1000
}

function timesOf(us: readonly number[]): Times {
  return { p50Us: quantileOf(us, 0.5), p99Us: quantileOf(us, 0.99) }
}
