/** What a run measured, as its file has it: the raw figures of every round. */
import type { Disturbance, Machine } from './machine.ts'
import type { Span } from './span.ts'

/** A figure of one server in one round. */
export interface Figure {
  /** The name of a measure. */
  readonly measure: string
  readonly server: string
  readonly round: number
  readonly value: number
  /** Why it must not count; null where it may. */
  readonly voidBecause: string | null
  readonly span?: Span
}

export interface Measure {
  readonly name: string
  readonly title: string
  readonly unit: string
  /** The measure of the same server that it is held against; left out, servers are held against Rollcall; null: none. */
  readonly heldAgainst?: string | null
}

export interface Results {
  readonly date: string
  readonly command: string
  readonly machine: Machine
  /** Null where the run did not come to its end. */
  readonly disturbance: Disturbance | null
  /** Of the servers, by the names of their packages. */
  readonly versions: Readonly<Record<string, string>>
  readonly servers: Readonly<Record<string, string>>
  readonly measures: readonly Measure[]
  /** What a scenario has to say beside its figures. */
  readonly notes: readonly string[]
  readonly figures: readonly Figure[]
}
