/** What a scenario is: it starts the servers that it compares, gives each its turn in every round, and tells figures. */
import type { Figure, Measure } from './measure/results.ts'

export interface Plan {
  /** Whether everything is measured at full size, which takes its time. */
  readonly isFull: boolean
  /** Every server has its turn in each. */
  readonly roundCount: number
  /** Tells whoever waits what happens. */
  say(line: string): void
}

export interface Outcome {
  readonly measures: readonly Measure[]
  readonly figures: readonly Figure[]
  readonly notes?: readonly string[]
}

export interface Scenario {
  readonly name: string
  /** Too long for the short form. */
  readonly isOfFullForm?: boolean
  run(plan: Plan): Promise<Outcome>
}

/**
 * Every server in each round, another one first each time, and every other round backwards: what the machine does
 * meanwhile, and what the one before leaves behind, falls on all of them.
 */
export async function inTurns<Server>(
  servers: readonly Server[],
  { roundCount }: Plan,
  turn: (server: Server, round: number) => Promise<void>,
): Promise<void> {
  for (let round = 0; round < roundCount; round += 1) {
    for (let place = 0; place < servers.length; place += 1) {
      const step = round % 2 === 0 ? place : servers.length - place
      await turn(servers[(round + step) % servers.length] as Server, round)
    }
  }
}
