/**
 * What a presence system has to do to be measured: a driver implements these interfaces and nothing else.
 *
 * A driver is a module that exports `driver`. The coordinating process calls `start`, and hands the address that it
 * gets to each of the processes that make the load; there `createClient` is called, once a process, and then `connect`
 * for each user. Nothing here may wait for its turn, hold back or retry: the workload's clock runs on.
 */

export interface Driver {
  /**
   * Starts the system, empty, with so many nodes.
   *
   * @returns when every node takes connections. Where it fails, nothing of it is left running
   */
  start(nodeCount: number): Promise<RunningSystem>
  /** @param address - of the running system */
  createClient(address: string): Client
}

export interface RunningSystem {
  /** What clients need to reach its nodes, in whatever form the driver likes. */
  readonly address: string
  /** Its parts and their versions, for the report. */
  readonly description: string
  /**
   * Which processes of this machine are its parts, now. Their processor time is read.
   *
   * @returns none, where it runs elsewhere
   */
  parts(): readonly Part[]
  /** @returns when it has nothing left to do of what was asked so far: writing behind, filling caches */
  untilQuiet(): Promise<void>
  /** What it complained of in its logs, a line each, for the report. */
  complaints(): readonly string[]
  /** Ends it and removes what it kept. */
  stop(): Promise<void>
}

export interface Part {
  readonly name: string
  readonly pids: readonly number[]
}

export interface Client {
  /** Opens the transport to a node, and does not show the user online yet. */
  connect(person: Person): Connection
}

export interface Person {
  /** A UUID. */
  readonly userId: string
  /** From 0 on. Users of another node have to see this user as well. */
  readonly node: number
  /** Where the connection is to come from: a port range for each address, and a limit for each address, last longer. */
  readonly localAddress: string
  /**
   * To be called where the connection is lost, a subscription ends, or the system refuses what no promise below is of.
   * Once, and never after `close`.
   */
  readonly onLost: (reason: string) => void
}

/** Each promise is rejected where the system refuses, and where the connection is lost. */
export interface Connection {
  /** Resolves when `comeOnline` could be said at once. */
  readonly opened: Promise<void>
  /**
   * Sends, before it returns, what makes the user online. From then on the driver does by itself whatever the system's
   * own client does to stay online: heartbeats, answers to pings.
   *
   * @returns when the system has acknowledged it
   */
  comeOnline(): Promise<void>
  /**
   * Sends, before it returns, what makes the user offline at once, without a grace.
   *
   * @returns when the system has acknowledged it
   */
  goOffline(): Promise<void>
  /**
   * Follows who comes and goes, over this connection. No list of who is there is wanted.
   *
   * @param audience - ids of users, or everyone
   * @param onNews - called for each piece of news in the order of arrival, as soon as it is parsed
   * @returns when every change from now on will be told
   */
  follow(audience: 'everyone' | readonly string[], onNews: (news: News) => void): Promise<void>
  /** Closes the transport. */
  close(): void
}

export interface News {
  readonly userId: string
  /** `OTHER` is anything but coming and going: the workload gives no cause for it, so it is counted as a mistake. */
  readonly kind: 'JOIN' | 'LEAVE' | 'OTHER'
  /**
   * Grows with each piece of news of a subscription, by the system's own numbering. Null where it numbers nothing:
   * then only the order of each user's own changes is checked.
   */
  readonly order: number | null
}
