/** What the load generator can be told, between the process of the bench and its own. */

export type DialectName = 'graphql' | 'socketIo' | 'bareWs'

export interface OpenArgs {
  readonly url: string
  readonly pid: number
  readonly dialect: DialectName
  /** What tokens are signed with. */
  readonly secret: string
  readonly subscriberCount: number
  readonly driverCount: number
  /** Clients come from 127.0.0.<this> and those after it; left out, from 127.0.0.2 on. */
  readonly firstAddress?: number
  /** What drivers look like, for whoever asks. */
  readonly picture?: string
}

/** The room of drivers who move. */
export const ROOM = 'hall'

/** What of a driver changes: whether they are in the room, or whether they are online (Rollcall only). */
export type Field = 'room' | 'presence'

export interface LoopArgs {
  readonly field: Field
  /** Changes, or bursts of them. */
  readonly stepCount: number
  /** Changes that the server finds waiting at once. */
  readonly burst: number
}

/** Why what was measured must not count; empty where all went as it must. */
export interface FaultsAnswer {
  readonly faults: readonly string[]
}

/** Without faults, each subscriber got each change once, whole, and in the order of all others. */
export interface LoopAnswer extends FaultsAnswer {
  readonly deliveryCount: number
  /** From the moment of a change, in an open loop by its plan, until a subscriber has parsed it. */
  readonly latencyMs: { readonly p50: number; readonly p99: number }
  /** The message that brings one change. */
  readonly bytes: number
  /** How late the latest step was sent, by the plan of an open loop. */
  readonly latestMs: number
}

export interface BeatsAnswer extends FaultsAnswer {
  readonly roundTripCount: number
}

/** What it can be told, by name: arguments and answer. */
export interface LoadCommands {
  /** Connects subscribers, who are sessions and not in the room, and drivers. */
  open(args: OpenArgs): Promise<void>
  /** Every subscriber follows the room, or where it is null everyone. */
  follow(args: { readonly room: string | null; readonly selectionCount: number }): Promise<void>
  /**
   * Every subscriber watches so many users: a beacon who is not there yet, all drivers, and else those next to
   * themselves, so that no two lists are the same.
   */
  watch(args: { readonly listLength: number }): Promise<void>
  unfollow(): Promise<void>
  /** As apps do, so that nobody falls away by time. */
  beatAll(): Promise<void>
  /** Each step is made when all subscribers have the last one. */
  closedLoop(args: LoopArgs): Promise<LoopAnswer>
  /** Each step is made when its time has come. */
  openLoop(args: LoopArgs & { readonly everyMs: number }): Promise<LoopAnswer>
  /** For so long, each of so many drivers sends its next heartbeat when the last one is answered. */
  heartbeats(args: { readonly forMs: number; readonly inFlight: number }): Promise<BeatsAnswer>
  /** So many subscribers' connections end at once, as when a network goes away. */
  cut(args: { readonly count: number }): Promise<void>
  /** The beacon connects, and every subscriber has to hear of it: their lists are in effect. */
  lightBeacon(): Promise<FaultsAnswer>
}

export type CommandName = keyof LoadCommands

/** One at a time: the next one is sent when the last one is answered. */
export interface Request {
  readonly name: CommandName
  readonly args: unknown
}

export type Response = { readonly answer: unknown } | { readonly error: string }
