/**
 * One socket and the session that hangs on it: it speaks for it, loses it, proves that it is no duplicate, and brings
 * it back (rules 5 and 6).
 *
 * A socket's session can be taken by a newer socket, ended from elsewhere, or lost with the node's lease; the socket
 * learns it by its fence. It knows no socket library: an adapter fills `NodeSocket`.
 */
import { randomUUID } from 'node:crypto'
import type { Caller } from './access.ts'
import { isUnavailable, notFound, unauthenticated, unavailable } from './errors.ts'
import type { SessionView } from './model.ts'
import { type BeatSender, Postponed } from './operation-queues.ts'
import {
  type Attach,
  type HeartbeatInput,
  type HeartbeatResult,
  type Presence,
  type SessionChannel,
  sessionOf,
} from './presence.ts'
import type { DetachCause } from './rules.ts'
import type { Beat, BeatAnswer, DetachRequest, Loss, PresenceStore } from './store.ts'
import type { PresenceTiming } from './timing.ts'

export interface NodeSocket {
  /**
   * Asks whether the client is there. Whatever its browser or its system answers for it must not count: the adapter
   * calls `Attachment.pong` with the nonce when the client itself answered this very question.
   */
  ping(nonce: string): void
  /** Whether the client was still reading what was sent before the last question: it may not have seen it yet. */
  isReadingUpToPing(): boolean
  /** Ends the connection without a word: nobody answers there. */
  terminate(): void
  /** Closes because the token no longer holds. */
  dismiss(): void
}

/** One authenticated socket. */
export interface Attachment extends SessionChannel {
  readonly caller: Caller
  /** Null for an observer, and while its session is over. */
  readonly fence: string | null
  /** Whether its session was live when it was attached to this socket the last time. */
  readonly isResumed: boolean
  /** The rooms of its session, as far as this socket was told. */
  readonly rooms: readonly string[]
  pong(nonce: string): void
  /** @param silentForMs - where it is silent, since the last proof of what did not answer: connection or page */
  closed(cause: DetachCause, silentForMs: number): Promise<void>
}

interface Challenge {
  readonly nonce: string
  untilMs: number
  /** What the socket says while the challenge is open, in order. */
  readonly waiting: { readonly resume: () => void; readonly fail: (error: Error) => void }[]
  /** An error: why nothing that the socket says counts any more. */
  outcome: 'open' | 'passed' | Error
  /** Whether its user ended all sessions while the challenge was open: then it starts none of its own. */
  isEnded: boolean
  /** The session that the socket was a duplicate of, as far as it is known. */
  readonly other: Pick<SessionView, 'device' | 'rooms'> | null
}

/** A session that its node lost, and will attach again. */
interface Absence {
  /** Names by which it may hang on this socket: the one that it had, and those of comebacks without an answer. */
  readonly formerFences: readonly string[]
  /** The name that was reaped with its node: as long as it is absent, the store may be told how it closed. */
  readonly reapedFence: string | null
  /** What the client has to answer first, and until when; null where it need not prove that it is there. */
  readonly proof: { readonly nonce: string; readonly untilMs: number } | null
}

/** What the node knows of a socket's session, to bring it back by itself. Moments by the monotonic clock. */
interface Known {
  readonly device: string | null
  readonly rooms: readonly string[]
  readonly startedAtMs: number
}

/** What the sockets of a node share. */
export interface SocketsOfNode {
  readonly store: PresenceStore
  readonly timing: PresenceTiming
  /** Ages are measured with it: monotonic ms. */
  readonly monotonicMs: () => number
  readonly onError: (error: unknown) => void
  /** The socket that a fence names, from the attach by it on. */
  readonly byFence: Map<string, SocketSession>
  readonly challenged: Set<SocketSession>
  /** Those whose session has to be attached again. */
  readonly absent: Set<SocketSession>
  nodeId(): string
  mintFence(): string
  /** Where the store is away it is told later. */
  tellDetach(request: DetachRequest): Promise<void>
  tellLater(request: DetachRequest): void
  /** It has its session from now on. */
  attached(open: SocketSession): void
  /** Its session went offline, and its client may be back over HTTP by now. */
  parted(open: SocketSession): void
  /** It is closed. */
  remove(open: SocketSession): void
}

type Request = Omit<Attach, 'userId' | 'fence' | 'nodeId'>

/** Comebacks without an answer whose names are kept: hours of an outage, at one a heartbeat. */
const MAX_FORMER = 100

/** One authenticated socket, as its node has it. A class, because a node has tens of thousands of them. */
export class SocketSession implements Attachment, BeatSender<HeartbeatInput, BeatAnswer, HeartbeatResult> {
  readonly caller: Caller
  readonly socket: NodeSocket
  sessionId: string | null
  fence: string | null = null
  isResumed = false
  challenge: Challenge | null = null
  readonly #node: SocketsOfNode
  readonly #presence: Presence
  #lastActiveAtMs: number
  #known: Known
  #absenceNow: Absence | null = null
  #returning: Promise<void> | null = null
  #closedAs: { cause: DetachCause; silentForMs: number; atMs: number } | null = null
  /** The attach under way: what the socket says of its session waits for it. */
  #attaching: Promise<SessionView | null> | null = null
  /** What was lost by an attach whose answer is on its way still. */
  #lostEarly: Loss | null = null
  /** Told to close: nothing that it says starts a session any more. */
  #isDismissed = false
  /** Its session went offline, and the socket stays open. */
  #isParted = false
  /** It is closed, and all that it said before has been done. */
  #isLeft = false

  /** @param namedSessionId - null for an observer */
  constructor(
    node: SocketsOfNode,
    presence: Presence,
    caller: Caller,
    socket: NodeSocket,
    namedSessionId: string | null,
  ) {
    this.#node = node
    this.#presence = presence
    this.caller = caller
    this.socket = socket
    this.sessionId = namedSessionId
    this.#lastActiveAtMs = node.monotonicMs()
    this.#known = { device: null, rooms: [], startedAtMs: this.#lastActiveAtMs }
    presence.operations.socketOpened(caller.userId)
  }

  /** Its node has forgotten it. To be called once. */
  removed(): void {
    this.#presence.operations.socketClosed(this.caller.userId)
  }

  get #absence(): Absence | null {
    return this.#absenceNow
  }

  set #absence(absence: Absence | null) {
    this.#absenceNow = absence
    if (absence !== null && this.#closedAs === null) this.#node.absent.add(this)
    else this.#node.absent.delete(this)
  }

  get rooms(): readonly string[] {
    return this.fence === null ? [] : this.#known.rooms
  }

  heartbeat(words: HeartbeatInput): Promise<HeartbeatResult> {
    const observer = this.#observerChannel()
    if (observer !== null) return observer.heartbeat(words)
    if (this.#closedAs !== null) return Promise.reject(closedError())
    this.#speaks()
    // Whether the store hears of it or not, for it may have to be told later.
    if (words.isActive) this.#lastActiveAtMs = this.#node.monotonicMs()
    return this.#presence.operations.runBeat(this.caller.userId, this, words)
  }

  changeRoom(kind: 'join' | 'leave', room: string): Promise<SessionView> {
    const observer = this.#observerChannel()
    if (observer !== null) return observer.changeRoom(kind, room)
    const { store } = this.#node
    return this.#run(async () => {
      const answer = await this.#speak((sessionId, fence) => {
        const request = { userId: this.caller.userId, sessionId, fence, room }
        return kind === 'join' ? store.join(request) : store.leave(request)
      })
      if (answer instanceof Postponed) return answer
      const session = sessionOf(answer ?? { kind: 'unknown' })
      this.#relearn(session)
      return session
    })
  }

  goOffline(): Promise<void> {
    const observer = this.#observerChannel()
    if (observer !== null) return observer.goOffline()
    return this.#run(async () => {
      const answer = await this.#speak((sessionId, fence) =>
        this.#node.store.end({ userId: this.caller.userId, sessionId, fence, reason: 'WENT_OFFLINE' }),
      )
      if (answer instanceof Postponed) return answer
      // Nor does it come back where a new epoch began while the answer was on its way.
      this.#absence = null
      this.#part()
    })
  }

  /** Hangs the session that the client named on the socket. */
  start(words: HeartbeatInput): Promise<SessionView | null> {
    return this.#run(() => this.#start(words))
  }

  pong(nonce: string): void {
    // Out of `challenged` first, so that `checkChallenges` no longer times it out.
    if (this.challenge?.nonce === nonce && this.#node.challenged.delete(this))
      this.#becomeOwn(this.challenge).catch(this.#node.onError)
    if (this.#absence?.proof?.nonce === nonce) this.comeBack().catch(this.#node.onError)
  }

  /** The client did not answer the challenge in time. If it was still reading, its timeout restarts. */
  challengeIsOver(): void {
    if (this.challenge !== null && this.socket.isReadingUpToPing()) {
      this.challenge.untilMs = this.#node.monotonicMs() + this.#node.timing.pongTimeoutMs
    } else this.#challengeFailed()
  }

  #challengeFailed(): void {
    this.#node.challenged.delete(this)
    this.#failChallenge(unauthenticated('Another socket has taken this session.'))
    // It is another socket's, or so it seems: where it hangs on this one after all, nobody else lets it go.
    this.#release('ended', 0).catch(this.#node.onError)
    this.socket.terminate()
  }

  /** Whether its client did not prove in time that it is there. */
  isUnproved(nowMs: number): boolean {
    const untilMs = this.#absence?.proof?.untilMs
    return untilMs !== undefined && nowMs >= untilMs
  }

  /** Nobody answers there: its session is no longer held for it. */
  proofFailed(): void {
    this.#release('silent', this.#node.timing.pongTimeoutMs).catch(this.#node.onError)
    this.socket.terminate()
  }

  /** A loss of a fence whose attach has not been answered yet: `#attachNow` handles it then. */
  lostBeforeAnswer(loss: Loss): void {
    this.#lostEarly = loss
  }

  /** Its user ended its session over HTTP: where it did not hang on this socket, it is not brought back. */
  ended(): void {
    if (this.#absence === null) return
    this.#absence = null
    this.#part()
  }

  /** Its user ended all sessions: what waits for a proof came before that, and starts none. */
  endedEverywhere(): void {
    this.ended()
    if (this.challenge === null) return
    this.challenge.isEnded = true
    for (const { fail } of this.challenge.waiting.splice(0)) fail(notFound('sessionId', 'session'))
  }

  lost(cause: Loss['cause']): void {
    if (cause === 'replaced') startChallenge(this.#node, this, null)
    else if (cause === 'reaped') this.#provesToBeThere()
    else if (cause === 'DISCONNECTED') this.dismiss()
    else if (cause === 'WENT_OFFLINE') this.#part()
    else this.#forget()
  }

  /** Whether its session went offline, and starts again as soon as its client is back. */
  isParted(): boolean {
    // What it said before it closed may still have to take the session again.
    return this.#isParted && this.fence === null && !this.#isLeft && !this.#isDismissed
  }

  /** A newer socket has the session that went offline here: this one does not take it again by itself (rule 6). */
  superseded(): void {
    this.#isParted = false
  }

  /** Takes its session again where its client came back by heartbeats over HTTP: the store knows. */
  returnAfterBeats(onlyAfterBeats: 'own' | 'any'): Promise<void> {
    return this.#presence.operations.run(this.caller.userId, () => this.#returnAfterBeats(onlyAfterBeats))
  }

  async #returnAfterBeats(onlyAfterBeats: 'own' | 'any'): Promise<void> {
    await this.#attach(() =>
      this.isParted() ? { sessionId: this.sessionId, isActive: false, comeback: null, onlyAfterBeats } : null,
    )
  }

  /** Its session has to be attached again, to a live state that is being rebuilt. */
  letGo(): void {
    this.#absence = { formerFences: this.fence === null ? [] : [this.fence], reapedFence: null, proof: null }
    this.#forget()
  }

  /** Whether its session has to be attached again, and nothing has to be proved first. */
  mustComeBack(): boolean {
    // While it has to prove that it is no duplicate, nothing is said for it.
    return this.#absence !== null && this.#absence.proof === null && this.challenge === null
  }

  comeBack(): Promise<void> {
    // Its callers know that the client is there; if it fails now, it is tried again.
    if (this.#absence !== null) this.#absence = { ...this.#absence, proof: null }
    this.#returning ??= this.#presence.operations
      .run(this.caller.userId, () => this.#return())
      .finally(() => {
        this.#returning = null
      })
    return this.#returning
  }

  dismiss(): void {
    this.#isDismissed = true
    this.#absence = null
    this.socket.dismiss()
  }

  async closed(cause: DetachCause, silentForMs: number): Promise<void> {
    if (this.#closedAs !== null) return
    this.#closedAs = { cause, silentForMs, atMs: this.#node.monotonicMs() }
    this.#node.remove(this)
    if (this.challenge !== null) this.#failChallenge(closedError())
    // What it said before it closed counts, and comes first.
    await this.#presence.operations.run(this.caller.userId, async () => {
      while (this.#attaching !== null) await this.#attaching.catch(() => null)
      this.#isLeft = true
      await this.#releaseClosed()
    })
  }

  isClosed(): boolean {
    return this.#closedAs !== null
  }

  /** Runs it after all that was asked for the user before. */
  async #run<Result>(operation: () => Promise<Result | Postponed>): Promise<Result> {
    this.#refuseIfClosed()
    this.#speaks()
    return this.#presence.operations.run(this.caller.userId, operation)
  }

  /** Its client said something, so it is there: whatever it said may wait for a while now. */
  #speaks(): void {
    if (this.#absence !== null) this.#absence = { ...this.#absence, proof: null }
  }

  #refuseIfClosed(): void {
    if (this.#closedAs !== null) throw closedError()
  }

  tryBeat(words: HeartbeatInput): Promise<BeatAnswer> | null {
    const { fence, sessionId } = this
    if (fence === null || sessionId === null) return null
    if (this.challenge !== null || this.#absence !== null || this.#attaching !== null) return null
    return this.#node.store.beat(beatOf(this.caller, words, sessionId, fence))
  }

  resultOf(answer: BeatAnswer): HeartbeatResult | null {
    if (answer.kind !== 'counted') return null
    this.#relearn(answer.session)
    return this.#presence.heartbeatResult(answer.session)
  }

  /** All that a heartbeat may need: its socket's proof, its session's comeback, its session's start. */
  async beat(words: HeartbeatInput): Promise<HeartbeatResult | Postponed> {
    const answer = await this.#speak((sessionId, fence) =>
      this.#node.store.beat(beatOf(this.caller, words, sessionId, fence)),
    )
    if (answer instanceof Postponed) return answer
    const result = answer === null ? null : this.resultOf(answer)
    if (result !== null) return result
    // The session is over: only activity starts it again (rule 5).
    if (!words.isActive) return this.#presence.heartbeatResult(null)
    return this.#presence.heartbeatResult(await this.#start(words))
  }

  #start(words: HeartbeatInput): Promise<SessionView | null> {
    return this.#attach(() => ({ ...words, sessionId: this.sessionId, comeback: null }))
  }

  /**
   * Hangs a session on this socket. One at a time.
   *
   * @param ask - says what to attach when its turn has come, null where there is nothing to attach any more
   */
  #attach(ask: () => Request | null): Promise<SessionView | null> {
    const attached = (this.#attaching ?? Promise.resolve(null))
      .catch(() => null)
      .then(() => {
        const request = ask()
        return request === null ? null : this.#attachNow(request)
      })
      .finally(() => {
        if (this.#attaching === attached) this.#attaching = null
      })
    this.#attaching = attached
    return attached
  }

  /** By a new fence. */
  async #attachNow(request: Request): Promise<SessionView | null> {
    if (this.#isDismissed) throw unauthenticated('The socket was told to close.')
    const mintedBy = this.#node.nodeId()
    const fence = this.#node.mintFence()
    this.#node.byFence.set(fence, this)
    let answer: Awaited<ReturnType<Presence['attach']>>
    try {
      answer = await this.#presence.attach(this.caller, {
        ...request,
        userId: this.caller.userId,
        fence,
        nodeId: mintedBy,
      })
    } catch (error) {
      this.#node.byFence.delete(fence)
      // A comeback is tried again; whatever else may have taken effect must not matter.
      if (this.#absence !== null && request.comeback !== null) {
        this.#absence = { ...this.#absence, formerFences: [...this.#absence.formerFences.slice(-MAX_FORMER), fence] }
      } else this.#disown(fence, request.sessionId)
      throw error
    }
    if (answer.kind !== 'attached' || answer.session === null) {
      this.#node.byFence.delete(fence)
      return null
    }
    if (this.fence !== null) this.#node.byFence.delete(this.fence)
    this.fence = fence
    this.#isParted = false
    this.isResumed = answer.isResumed
    this.sessionId = answer.session.id
    this.#node.attached(this)
    this.#absence = null
    const lossDuringAttach = this.#lostEarly
    this.#lostEarly = null
    this.#learn(answer.session, answer.atMs, answer.lastActiveForMs)
    if (answer.replacedFence !== null) {
      const replaced = this.#node.byFence.get(answer.replacedFence)
      if (replaced !== undefined && replaced !== this) startChallenge(this.#node, replaced, answer.session)
    }
    // It may have closed while the store worked: then nobody else would take the session from it.
    if (this.#isLeft) await this.#releaseClosed()
    else if (this.#isDismissed) {
      const sessionId = answer.session.id
      this.#forget()
      await this.#node.store.end({ userId: this.caller.userId, sessionId, fence, reason: 'DISCONNECTED' })
    } else if (mintedBy !== this.#node.nodeId()) {
      // The live state was lost while the answer was on its way: the new one does not know this fence.
      this.letGo()
      this.comeBack().catch(this.#node.onError)
    } else if (lossDuringAttach?.fence === fence) this.lost(lossDuringAttach.cause)
    return answer.session
  }

  /** Whether the attach took effect is unknown: `#disown` leaves no session behind in either case. */
  #disown(fence: string, sessionId: string | null): void {
    if (sessionId === null) return
    const request = { userId: this.caller.userId, sessionId, fence, cause: 'ended' as const, silentForMs: 0 }
    this.#node.tellLater({ ...request, isAttachUncertain: true })
  }

  #learn({ device, rooms, startedAtMs }: SessionView, storeNowMs: number, lastActiveForMs: number): void {
    const nowMs = this.#node.monotonicMs()
    this.#known = { device, rooms, startedAtMs: nowMs - (storeNowMs - startedAtMs) }
    this.#lastActiveAtMs = nowMs - lastActiveForMs
  }

  #relearn(session: SessionView | null): void {
    if (session === null || (session.device === this.#known.device && session.rooms === this.#known.rooms)) return
    this.#known = { ...this.#known, device: session.device, rooms: session.rooms }
  }

  /** The session hangs on this socket no more, by whatever name it may have: it gets its grace. */
  async #release(cause: DetachCause, silentForMs: number): Promise<void> {
    const { sessionId } = this
    const fence = this.fence ?? this.#absence?.reapedFence ?? null
    for (const former of this.#absence?.formerFences ?? []) this.#disown(former, sessionId)
    this.#absence = null
    this.#forget()
    if (fence === null || sessionId === null) return
    await this.#node.tellDetach({ userId: this.caller.userId, sessionId, fence, cause, silentForMs })
  }

  async #releaseClosed(): Promise<void> {
    if (this.#closedAs === null) return
    const { cause, silentForMs, atMs } = this.#closedAs
    await this.#release(cause, silentForMs + (this.#node.monotonicMs() - atMs))
  }

  /**
   * Says something of the socket's own session; where another socket took it, after proving to be there.
   *
   * @returns null where it has no session
   */
  async #speak<Answer extends { readonly kind: string }>(
    words: (sessionId: string, fence: string) => Promise<Answer>,
  ): Promise<Exclude<Answer, { kind: 'late' }> | Postponed | null> {
    for (;;) {
      if (this.#attaching !== null && this.challenge === null) await this.#attaching.catch(() => null)
      if (this.challenge !== null) return afterChallenge(this.challenge)
      if (this.#absence !== null) await this.#return()
      // Its app may have beaten over HTTP a moment ago: then it speaks of that session.
      if (this.isParted()) await this.#returnAfterBeats('any')
      if (this.challenge !== null) continue
      if (this.sessionId === null || this.fence === null) return null
      const answer = await words(this.sessionId, this.fence)
      if (answer.kind !== 'late') return answer as Exclude<Answer, { kind: 'late' }>
      this.#refuseIfClosed()
      startChallenge(this.#node, this, null)
    }
  }

  /** What an observer asks for a session is answered as over HTTP. */
  #observerChannel(): SessionChannel | null {
    return this.sessionId === null ? this.#presence.httpChannel(this.caller, null) : null
  }

  /** The duplicated tab is a session of its own from now on, and nobody did anything in it. */
  async #becomeOwn(challenge: Challenge): Promise<void> {
    try {
      const other = challenge.other ?? (await this.#otherSession())
      await this.#release('ended', 0)
      this.sessionId = randomUUID()
      const own = { sessionId: this.sessionId, isActive: false, comeback: null, ...other }
      await this.#attach(() => (challenge.isEnded ? null : own))
      this.challenge = null
      challenge.outcome = 'passed'
      for (const { resume } of challenge.waiting.splice(0)) resume()
    } catch (error) {
      this.#failChallenge(unavailable('store', 'The session could not be started.', { cause: error }))
      this.socket.terminate()
      throw error
    }
  }

  async #otherSession(): Promise<Challenge['other']> {
    const viewer = await this.#node.store.viewer(this.caller.userId)
    const session = viewer === 'pending' ? undefined : viewer?.sessions.find(({ id }) => id === this.sessionId)
    return session === undefined ? null : { device: session.device, rooms: session.rooms }
  }

  /** The node was thought dead, so it may have been away itself: does anybody still hold this socket? */
  #provesToBeThere(): void {
    const untilMs = this.#node.monotonicMs() + this.#node.timing.pongTimeoutMs
    const proof = { nonce: randomUUID(), untilMs }
    this.#absence = { formerFences: [], reapedFence: this.fence, proof }
    this.#forget()
    if (this.#closedAs === null) this.socket.ping(proof.nonce)
  }

  /** Hangs the session on the socket again, unless it moved on or is over. */
  async #return(): Promise<void> {
    let isAsked = false
    try {
      const session = await this.#attach(() => {
        // By its turn it may be there again, or closed.
        if (this.#absence === null || this.#isLeft || this.sessionId === null) return null
        isAsked = true
        return this.#comebackOf(this.#absence, this.sessionId)
      })
      if (!isAsked) return
      this.#absence = null
      if (session !== null) return
      this.#refuseIfClosed()
      startChallenge(this.#node, this, null)
    } catch (error) {
      // If the store is unreachable, the comeback is retried. Any other error is final.
      if (!isUnavailable(error)) this.#absence = null
      throw error
    }
  }

  #comebackOf({ formerFences }: Absence, sessionId: string): Request {
    const nowMs = this.#node.monotonicMs()
    const { device, rooms, startedAtMs } = this.#known
    const ages = {
      startedForMs: Math.round(nowMs - startedAtMs),
      lastActiveForMs: Math.round(nowMs - this.#lastActiveAtMs),
    }
    return { sessionId, isActive: false, device, rooms, comeback: { ...ages, formerFences } }
  }

  /** Its session went offline; the socket stays. */
  #part(): void {
    this.#forget()
    this.#isParted = true
    this.#node.parted(this)
  }

  #failChallenge(error: Error): void {
    const { challenge } = this
    if (challenge?.outcome !== 'open') return
    challenge.outcome = error
    for (const { fail } of challenge.waiting.splice(0)) fail(error)
  }

  /** The session is over, or another's; the socket stays. */
  #forget(): void {
    if (this.fence !== null) this.#node.byFence.delete(this.fence)
    this.fence = null
  }
}

/** Field by field: a spread costs more than all the rest of a heartbeat here. */
function beatOf(
  { userId, profile }: Caller,
  { isActive, device, rooms }: HeartbeatInput,
  sessionId: string,
  fence: string,
): Beat {
  const beat: { -readonly [Name in keyof Beat]: Beat[Name] } = { userId, sessionId, fence, isActive, profile }
  if (device !== undefined) beat.device = device
  if (rooms !== undefined) beat.rooms = rooms
  return beat
}

/** Pings a client whose session another socket took: one that answers is a duplicated tab. */
function startChallenge(
  { timing, monotonicMs, challenged }: SocketsOfNode,
  open: SocketSession,
  other: Challenge['other'],
): void {
  if (open.challenge !== null || open.isClosed()) return
  open.challenge = {
    nonce: randomUUID(),
    untilMs: monotonicMs() + timing.pongTimeoutMs,
    waiting: [],
    outcome: 'open',
    isEnded: false,
    other,
  }
  challenged.add(open)
  open.socket.ping(open.challenge.nonce)
}

/** What a challenged socket says holds nobody up: the socket that took its session is the user's as well. */
function afterChallenge(challenge: Challenge): Postponed {
  return new Postponed((resume, fail) => {
    const { outcome, waiting } = challenge
    if (outcome === 'open') waiting.push({ resume, fail })
    else if (outcome === 'passed') resume()
    else fail(outcome)
  })
}

function closedError(): Error {
  return unauthenticated('The socket is closed.')
}
