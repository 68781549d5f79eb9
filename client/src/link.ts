/**
 * The link to the server: one connection after the other, for as long as somebody is signed in.
 *
 * | state        | what moves it on |
 * | ------------ | --- |
 * | `idle`       | `start`: connecting |
 * | `connecting` | the acknowledgement: open. An end or its limit: waiting. A refusal for good: failed |
 * | `open`       | an end or silence: waiting. A refusal for good: failed |
 * | `waiting`    | its time, `wake`, `retryNow`: connecting |
 * | `failed`     | `retryNow`: connecting |
 *
 * `stop` moves every state to `idle`.
 *
 * An open connection proves nothing by itself. What is shown is live while the server's word `positionAdvanced` comes
 * for it: at the start of each subscription to it, and then every 10 s.
 */
import { type Acknowledgement, type Connection, type Ending, type OpenSocket, openConnection } from './connection.ts'
import { elapsedMs, type Moment, now } from './elapsed.ts'
import { RollcallError } from './errors.ts'
import { PositionAdvanced } from './operations.ts'
import { HANDSHAKE_LIMIT_MS, type Loss, waitMs } from './schedule.ts'
import type { LinkSnapshot } from './types.ts'

/** The app's own way to a token may be slow, and the server gives it 10 s (CONNECTION_INIT_TIME). */
const TOKEN_LIMIT_MS = 10_000
/** From the open socket to the acknowledgement: a server that many come back to takes its time. */
const ACKNOWLEDGEMENT_LIMIT_MS = 10_000
/**
 * A connection that was silent for so long is asked whether it is there, and given up after as long again. So a network
 * that was black for 5 s is noticed, and replaced, within 5 s of its return.
 */
const SILENCE_MS = 4000
/** After waking: nobody can say how long the network was away. */
const WAKING_LIMIT_MS = 3000
/** The server's word comes every 10 s. */
const WORD_LIMIT_MS = 15_000
/** Whatever comes after so long a silence may have waited in a buffer while this machine slept. */
const SLEEP_MS = 15_000
const CHECK_MS = 500
/** Refusals of a token in a row, each followed by a fresh one, before the link gives up. */
const MAX_REFUSED_TOKENS = 3
/** `iat` counts whole seconds: a token of the second in which its user was disconnected is refused. */
const TOKEN_SECOND_MS = 1000
/** Where something has just answered: the browser may let the handshake wait. */
const PROBED_LIMIT_MS = 15_000
/** A handshake this young has begun on the network that is there now. */
const NEW_NETWORK_MS = 500

/** Close codes that no other connection helps against: wrong parameters, another subprotocol, a fault of this kit. */
const REFUSED_FOR_GOOD = [4400, 4406, 4409, 4429]
const TOKEN_REFUSED = [4401, 4403]
const COME_BACK_LATER = [1012, 1013]

export interface LinkOptions {
  /** Asked at each connection: a server that renders the page may not know it. */
  readonly url: () => string
  /** Asked before each connection. Null: nobody is signed in. */
  readonly token: () => string | null | Promise<string | null>
  /** Whether a second answer of `token` may be another one. */
  readonly isTokenRenewable: boolean
  /** `connectionParams` without the token. */
  readonly params: () => Record<string, unknown>
  readonly openSocket: OpenSocket
  readonly isOffline: () => boolean
  /** Resolves with whether anything answers there. Null where a handshake that is given up costs nothing. */
  readonly probe: (() => Promise<boolean>) | null
  readonly onAcknowledged: (acknowledgement: Acknowledgement) => void
  /** As a connection's. */
  readonly onChallenged: () => void
}

/** What hears of each connection. */
export interface Follower {
  /** A connection is acknowledged. */
  opened(connection: Connection): void
  /** It is over. */
  ended(): void
  /** What is shown may have become stale, or live again. */
  doubted(): void
  /** All that the subscriptions of this generation and of earlier ones have to get up to this position has come. */
  word(position: string, generation: number): void
}

export class Link {
  readonly #options: LinkOptions
  readonly #onChange: () => void
  readonly #followers = new Set<Follower>()
  #snapshot: LinkSnapshot = plain('idle')
  #connection: Connection | null = null
  /** One whose handshake took longer than it may. On a slow network it can still be the first to succeed. */
  #late: Connection | null = null
  #acknowledgement: Acknowledgement | null = null
  /** The limit of the present state, or the end of the wait. */
  #timer: ReturnType<typeof setTimeout> | undefined
  #checks: ReturnType<typeof setInterval> | undefined
  /** Counts attempts to connect: what belongs to an earlier one does nothing. */
  #attempt = 0
  #attemptAt: Moment = now()
  /** Attempts that failed in a row. A word of the server ends the row. */
  #failures = 0
  /** Whether the last attempt failed or was given up: an app that asks for another one does not mend the network. */
  #isNetworkDoubtful = false
  #refusedTokens = 0
  #isRefused = false
  #heardAt: Moment = now()
  #probe: { readonly sentAt: Moment; readonly limitMs: number; readonly needsPong: boolean } | null = null
  #wordAt: Moment = now()
  #position: string | null = null
  #isProven = false
  /** Counts subscriptions to the server's word. */
  #generation = 0
  /** The last one that brought a word. */
  #wordGeneration = 0
  #isConfirming = false
  #stopWords = (): void => {}

  constructor(options: LinkOptions, onChange: () => void) {
    this.#options = options
    this.#onChange = onChange
  }

  get snapshot(): LinkSnapshot {
    return this.#snapshot
  }

  /** Null unless the link is open. */
  get connection(): Connection | null {
    return this.#acknowledgement && this.#connection
  }

  get acknowledgement(): Acknowledgement | null {
    return this.#acknowledgement
  }

  /** Of the last word: what every subscription that it covers has had. Null before the first one. */
  get position(): string | null {
    return this.#position
  }

  /** Whether the server's word has come, and the next one is not overdue. */
  get isProven(): boolean {
    return this.#isProven
  }

  covers(generation: number): boolean {
    return this.#isProven && this.#wordGeneration >= generation
  }

  follow(follower: Follower): () => void {
    this.#followers.add(follower)
    if (this.connection) follower.opened(this.connection)
    return () => this.#followers.delete(follower)
  }

  /**
   * Asks for a word that covers each subscription begun until now: it is asked for after them.
   *
   * @returns its generation
   */
  confirm(): number {
    if (!this.#isConfirming) {
      this.#isConfirming = true
      // Once for all that begin together.
      queueMicrotask(() => {
        this.#isConfirming = false
        this.#askForWords()
      })
    }
    return this.#generation + 1
  }

  start(): void {
    if (this.#snapshot.state === 'idle') void this.#connect()
  }

  stop(): void {
    this.#endLate()
    this.#end(1000)
    this.#become(plain('idle'))
  }

  /** Connects at once, where it waits to do so or was refused. */
  retryNow(): void {
    if (this.#snapshot.state !== 'waiting' && this.#snapshot.state !== 'failed') return
    this.#failures = 0
    this.#refusedTokens = 0
    void this.#connect()
  }

  /**
   * This page or machine may have slept, or been offline.
   *
   * @param isNetworkNew - a handshake that began before will hardly be answered
   */
  wake(isNetworkNew = false): void {
    const { state } = this.#snapshot
    // A server that said to come back later is not asked earlier because somebody looks.
    if (state === 'waiting' && !this.#isRefused) this.retryNow()
    else if (state === 'connecting' && isNetworkNew && elapsedMs(this.#attemptAt) > NEW_NETWORK_MS) {
      this.#isNetworkDoubtful = true
      void this.#connect()
    } else if (state === 'open' && elapsedMs(this.#heardAt) > CHECK_MS) this.#doubt()
  }

  /** Asks whether the server is there, where it has said nothing for a moment. */
  ping(): void {
    if (this.connection && !this.#probe && elapsedMs(this.#heardAt) > CHECK_MS) this.#ask(WAKING_LIMIT_MS, false)
  }

  /** Looks whether something is overdue: for tabs whose timers the browser holds back. */
  check(): void {
    if (this.connection) this.#check()
  }

  async #connect(): Promise<void> {
    this.#end()
    const attempt = this.#attempt
    this.#attemptAt = now()
    this.#isRefused = false
    this.#become(plain('connecting'))
    this.#limit(TOKEN_LIMIT_MS)
    let token: string | null
    try {
      token = await this.#options.token()
    } catch (cause) {
      if (attempt === this.#attempt) this.#lose('broken', new RollcallError('UNAUTHENTICATED', `No token: ${cause}`))
      return
    }
    if (attempt !== this.#attempt) return
    if (token === null) return this.#fail(new RollcallError('UNAUTHENTICATED', 'Nobody is signed in.'))
    const probe = this.#isNetworkDoubtful ? this.#options.probe : null
    if (probe) {
      this.#limit(HANDSHAKE_LIMIT_MS)
      const isAnswered = await probe()
      if (attempt !== this.#attempt) return
      if (!isAnswered) return this.#lose('broken')
    }
    try {
      const connection = openConnection({
        url: this.#options.url(),
        params: { ...this.#options.params(), authorization: `Bearer ${token}` },
        openSocket: this.#options.openSocket,
        onOpen: () => this.#handshaken(connection),
        onAcknowledged: (acknowledgement) => this.#opened(acknowledgement),
        onChallenged: this.#options.onChallenged,
        onHeard: (isPong) => this.#heard(isPong),
        onEnd: (ending) => {
          if (connection === this.#late) this.#late = null
          else this.#ended(ending)
        },
      })
      this.#connection = connection
      this.#limit(probe ? PROBED_LIMIT_MS : HANDSHAKE_LIMIT_MS, () => {
        this.#endLate()
        this.#late = connection
        this.#connection = null
      })
    } catch (cause) {
      this.#fail(new RollcallError('CLOSED', (cause as Error).message))
    }
  }

  #handshaken(connection: Connection): void {
    if (connection === this.#late) {
      this.#late = null
      this.#end()
      this.#connection = connection
      this.#become(plain('connecting'))
    }
    this.#limit(ACKNOWLEDGEMENT_LIMIT_MS)
  }

  #opened(acknowledgement: Acknowledgement): void {
    clearTimeout(this.#timer)
    this.#endLate()
    this.#refusedTokens = 0
    this.#acknowledgement = acknowledgement
    this.#heardAt = now()
    this.#wordAt = now()
    this.#checks = setInterval(() => this.#check(), CHECK_MS)
    this.#become(plain('open'))
    this.#options.onAcknowledged(acknowledgement)
    const connection = this.#connection as Connection
    for (const follower of [...this.#followers]) follower.opened(connection)
    this.confirm()
  }

  #askForWords(): void {
    const { connection } = this
    if (!connection) return
    this.#generation += 1
    const generation = this.#generation
    this.#stopWords()
    this.#stopWords = connection.follow(
      PositionAdvanced,
      {},
      {
        next: ({ positionAdvanced }) => {
          const wasProven = this.#isProven
          this.#wordAt = now()
          this.#failures = 0
          this.#isNetworkDoubtful = false
          this.#wordGeneration = generation
          this.#position = positionAdvanced
          this.#isProven = true
          for (const follower of [...this.#followers]) follower.word(positionAdvanced, generation)
          if (!wasProven) this.#doubted()
        },
        error: ({ retryAfterMs }) => {
          // Until it is back what is shown becomes stale, because the word is overdue.
          const attempt = this.#attempt
          setTimeout(() => attempt === this.#attempt && this.#askForWords(), retryAfterMs ?? SILENCE_MS)
        },
      },
    )
  }

  #heard(isPong: boolean): void {
    if (elapsedMs(this.#heardAt) > SLEEP_MS && !this.#probe?.needsPong) this.#doubt()
    this.#heardAt = now()
    if (isPong || !this.#probe?.needsPong) this.#probe = null
  }

  /** Twice a second, and rarely in a hidden tab. */
  #check(): void {
    const silentMs = elapsedMs(this.#heardAt)
    const probe = this.#probe
    if (probe && elapsedMs(probe.sentAt) >= probe.limitMs) this.#lose('silence')
    else if (silentMs > SLEEP_MS && !probe) this.#doubt()
    else if (silentMs >= SILENCE_MS && !probe) this.#ask(SILENCE_MS, false)
    if (this.#isProven && elapsedMs(this.#wordAt) >= WORD_LIMIT_MS) this.#unprove()
  }

  /** Nothing counts as live until the server has answered what is asked now. */
  #doubt(): void {
    if (!this.connection) return
    this.#unprove()
    if (!this.#probe?.needsPong) this.#ask(WAKING_LIMIT_MS, true)
    this.confirm()
  }

  #ask(limitMs: number, needsPong: boolean): void {
    this.#probe = { sentAt: now(), limitMs, needsPong }
    this.#connection?.ping()
  }

  #unprove(): void {
    if (!this.#isProven) return
    this.#isProven = false
    this.#doubted()
  }

  #doubted(): void {
    for (const follower of [...this.#followers]) follower.doubted()
  }

  #ended({ code, reason, retryInMs }: Ending): void {
    const [, errorCode = 'CLOSED', message = reason] = /^([A-Z_]+): (.*)$/.exec(reason) ?? []
    const [, retryAfter] = /Retry after (\d+) ms\.$/.exec(reason) ?? []
    const error = new RollcallError(
      errorCode,
      message || 'The connection was lost.',
      retryAfter ? Number(retryAfter) : null,
    )
    if (REFUSED_FOR_GOOD.includes(code)) this.#fail(error)
    else if (retryInMs !== undefined) this.#wait(retryInMs, error)
    else if (TOKEN_REFUSED.includes(code)) this.#tokenRefused(error)
    else this.#lose(COME_BACK_LATER.includes(code) ? 'refused' : 'broken', error)
  }

  #tokenRefused(error: RollcallError): void {
    const count = this.#refusedTokens
    this.#refusedTokens += 1
    // A token that ran out is replaced without a pause.
    if (!this.#options.isTokenRenewable || count + 1 >= MAX_REFUSED_TOKENS) this.#fail(error)
    else if (count === 0) void this.#connect()
    else this.#wait(TOKEN_SECOND_MS * (1 + Math.random()), error)
  }

  /** Where this machine knows that it is offline, no server notices its attempts. */
  #lose(loss: Loss, error: RollcallError | null = null): void {
    this.#isRefused = loss === 'refused'
    this.#isNetworkDoubtful = true
    const ms = waitMs(this.#options.isOffline() ? 'silence' : loss, this.#failures, Math.random())
    this.#failures += 1
    this.#wait(ms + (error?.retryAfterMs ?? 0), error)
  }

  #wait(ms: number, error: RollcallError | null): void {
    this.#end()
    this.#become({ state: 'waiting', retryInMs: ms, retryAt: new Date(Date.now() + ms), error })
    this.#timer = setTimeout(() => void this.#connect(), ms)
  }

  #fail(error: RollcallError): void {
    this.#endLate()
    this.#end()
    this.#become({ state: 'failed', retryInMs: null, retryAt: null, error })
  }

  /** Gives the present step so long. */
  #limit(ms: number, onOver?: () => void): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => {
      onOver?.()
      this.#lose('silence')
    }, ms)
  }

  #endLate(): void {
    this.#late?.end(4499)
    this.#late = null
  }

  /** @param code - 4499, the protocol's: the connection was lost */
  #end(code: 1000 | 4499 = 4499): void {
    const connection = this.#connection
    const wasOpen = this.#acknowledgement !== null
    clearTimeout(this.#timer)
    clearInterval(this.#checks)
    this.#attempt += 1
    this.#connection = null
    this.#acknowledgement = null
    this.#probe = null
    this.#isProven = false
    this.#stopWords = () => {}
    connection?.end(code)
    if (wasOpen) for (const follower of [...this.#followers]) follower.ended()
  }

  #become(snapshot: LinkSnapshot): void {
    this.#snapshot = snapshot
    this.#onChange()
  }
}

function plain(state: 'idle' | 'connecting' | 'open'): LinkSnapshot {
  return { state, retryInMs: null, retryAt: null, error: null }
}
