/**
 * One socket and the session that is attached to it. The socket operates on its session, loses it, proves that it is
 * no duplicate, and brings the session back (rules 5 and 6).
 *
 * A socket's session can be taken by a newer socket, ended from elsewhere, or lost with the node's lease; the socket
 * learns this by its fence. This module knows no socket library: an adapter implements `NodeSocket`.
 */
import { randomUUID } from 'node:crypto'
import type { Caller } from './access.ts'
import { isUnavailable, notFound, unauthenticated, unavailable } from './errors.ts'
import type { EndReason, SessionView } from './model.ts'
import { type BeatSender, Postponed } from './operation-queues.ts'
import {
  type Attach,
  type HeartbeatInput,
  type HeartbeatResult,
  type Presence,
  type SessionChannel,
  sessionOf,
} from './presence.ts'
import type { EndedSession, RecentEnds } from './recent-ends.ts'
import type { DetachCause } from './rules.ts'
import type { AttachAnswer, Beat, BeatAnswer, DetachRequest, Loss, PresenceStore } from './store.ts'
import type { PresenceTiming } from './timing.ts'

export interface NodeSocket {
  /**
   * Asks whether the client is there. An answer by its browser or its system must not count: the adapter calls
   * `Attachment.pong` with the nonce only when the client itself has answered this very ping.
   */
  ping(nonce: string): void
  /** Whether the client is still reading what was sent before the last ping, so it may not have seen the ping yet. */
  isReadingUpToPing(): boolean
  /** Ends the connection without a close frame, because the client does not answer. */
  terminate(): void
  /** Closes the socket because its token is no longer valid. */
  dismiss(): void
}

/** One authenticated socket. */
export interface Attachment extends SessionChannel {
  readonly caller: Caller
  /** Null for an observer, and for a socket whose session is over. */
  readonly fence: string | null
  /** Whether the session was already live when it was last attached to this socket. */
  readonly isResumed: boolean
  /** The rooms of the session, as far as this socket knows. */
  readonly rooms: readonly string[]
  pong(nonce: string): void
  /** @param silentForMs - for `silent`: since the last proof of life of what did not answer, connection or page */
  closed(cause: DetachCause, silentForMs: number): Promise<void>
}

interface Challenge {
  readonly nonce: string
  untilMs: number
  /** The operations requested by the socket while the challenge is open, in order. */
  readonly waiting: { readonly resume: () => void; readonly fail: (error: Error) => void }[]
  /** An error says why the socket's requests no longer count. */
  outcome: 'open' | 'passed' | Error
  /** Whether the user ended all sessions while the challenge was open: the socket then starts none of its own. */
  isEnded: boolean
  /** The session that the socket duplicates; null if it is not known. */
  readonly other: Pick<SessionView, 'device' | 'rooms'> | null
}

/** The state of a session that its node lost and will attach again. */
interface Absence {
  /** Fences under which the session may be attached here: the one it had, and those of unanswered comebacks. */
  readonly formerFences: readonly string[]
  /** The fence that was reaped with its node: during the absence, the store still accepts how the socket closed. */
  readonly reapedFence: string | null
  /** What the client has to answer first, and until when; null if it need not prove that it is there. */
  readonly proof: { readonly nonce: string; readonly untilMs: number } | null
}

/** What the node knows of a socket's session, to bring it back by itself. Moments are by the monotonic clock. */
interface Known {
  readonly device: string | null
  readonly rooms: readonly string[]
  readonly startedAtMs: number
  readonly startId: string | null
}

/** What all sockets of a node share. */
export interface SocketsOfNode {
  readonly store: PresenceStore
  readonly timing: PresenceTiming
  /** The clock that measures ages, in monotonic ms. */
  readonly monotonicMs: () => number
  readonly onError: (error: unknown) => void
  /** The socket of each fence, from the start of the attach under that fence. */
  readonly byFence: Map<string, SocketSession>
  readonly challenged: Set<SocketSession>
  /** Sockets whose session has to be attached again. */
  readonly absent: Set<SocketSession>
  /** Null if the live state is this process's own, and is lost with it. */
  readonly recentEnds: RecentEnds | null
  nodeId(): string
  mintFence(): string
  /** Sends a detach to the store; if the store is unavailable, the detach is sent later. */
  tellDetach(request: DetachRequest): Promise<void>
  tellLater(request: DetachRequest): void
  /** The socket owns its session from now on. */
  attached(open: SocketSession): void
  /** The socket's session went offline, and the client may be back over HTTP by now. */
  parted(open: SocketSession): void
  /** The socket is closed. */
  remove(open: SocketSession): void
}

type Request = Omit<Attach, 'userId' | 'fence' | 'nodeId'>

/** How many fences of unanswered comebacks are kept: enough for hours of an outage, at one comeback per heartbeat. */
const MAX_FORMER = 100

/** One authenticated socket on its node. A class, because a node has tens of thousands of them. */
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
  /** The attach under way: operations on the session wait for it. */
  #attaching: Promise<SessionView | null> | null = null
  /** The loss of an attach whose answer has not arrived yet. */
  #lostEarly: Loss | null = null
  /** The socket was told to close: none of its requests starts a session any more. */
  #isDismissed = false
  /** The session went offline, and the socket stays open. */
  #isParted = false
  /** The socket is closed, and all operations requested before that are done. */
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
    this.#known = { device: null, rooms: [], startedAtMs: this.#lastActiveAtMs, startId: null }
    presence.operations.socketOpened(caller.userId)
  }

  /** The node has removed this socket. Called once. */
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
    // Kept even if the heartbeat does not reach the store: a later comeback reports this age.
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
      this.#over('WENT_OFFLINE')
      // If a new epoch began while the answer was on its way, the session does not come back either.
      this.#absence = null
      this.#part()
    })
  }

  /** Attaches the session that the client named to the socket. */
  start(words: HeartbeatInput): Promise<SessionView | null> {
    return this.#run(() => this.#start(words))
  }

  pong(nonce: string): void {
    // `challenged` drops the socket first, so that `checkChallenges` no longer times it out.
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
    // The session seems to be another socket's. If it is attached here after all, nothing else detaches it.
    this.#release('ended', 0).catch(this.#node.onError)
    this.socket.terminate()
  }

  /** Whether the client failed to prove in time that it is there. */
  isUnproved(nowMs: number): boolean {
    const untilMs = this.#absence?.proof?.untilMs
    return untilMs !== undefined && nowMs >= untilMs
  }

  /** The client did not prove that it is there: the node no longer holds the session for it. */
  proofFailed(): void {
    this.#release('silent', this.#node.timing.pongTimeoutMs).catch(this.#node.onError)
    this.socket.terminate()
  }

  /** Keeps the loss of a fence whose attach has not been answered yet: `#attachNow` handles the loss. */
  lostBeforeAnswer(loss: Loss): void {
    this.#lostEarly = loss
  }

  /** The user ended the session over HTTP: if it is not attached to this socket, it is not brought back. */
  ended(): void {
    if (this.#absence === null) return
    this.#over('WENT_OFFLINE')
    this.#absence = null
    this.#part()
  }

  /** The user ended all sessions: operations that wait for a challenge came before that, and start none. */
  endedEverywhere(): void {
    this.ended()
    if (this.challenge === null) return
    this.challenge.isEnded = true
    for (const { fail } of this.challenge.waiting.splice(0)) fail(notFound('sessionId', 'session'))
  }

  lost(cause: Loss['cause']): void {
    if (cause !== 'replaced' && cause !== 'reaped') this.#over(cause)
    if (cause === 'replaced') startChallenge(this.#node, this, null)
    else if (cause === 'reaped') this.#provesToBeThere()
    else if (cause === 'DISCONNECTED') this.dismiss()
    else if (cause === 'WENT_OFFLINE') this.#part()
    else this.#forget()
  }

  /** Whether the session went offline, and starts again as soon as the client is back. */
  isParted(): boolean {
    // `#isLeft`, because an operation requested before the close may still have to take the session again.
    return this.#isParted && this.fence === null && !this.#isLeft && !this.#isDismissed
  }

  /** A newer socket owns the session that went offline here: this one does not take it again by itself (rule 6). */
  superseded(): void {
    this.#isParted = false
  }

  /** Takes the session again if the client came back by heartbeats over HTTP, which the store decides. */
  returnAfterBeats(onlyAfterBeats: 'own' | 'any'): Promise<void> {
    return this.#presence.operations.run(this.caller.userId, () => this.#returnAfterBeats(onlyAfterBeats))
  }

  async #returnAfterBeats(onlyAfterBeats: 'own' | 'any'): Promise<void> {
    await this.#attach(() =>
      this.isParted() ? { sessionId: this.sessionId, isActive: false, comeback: null, onlyAfterBeats } : null,
    )
  }

  /** The session has to be attached again, to a live state that is being rebuilt. */
  letGo(): void {
    this.#absence = { formerFences: this.fence === null ? [] : [this.fence], reapedFence: null, proof: null }
    this.#forget()
  }

  /** Whether the session has to be attached again, and the client need not prove anything first. */
  mustComeBack(): boolean {
    // While the socket has to prove that it is no duplicate, the node requests nothing for it.
    return this.#absence !== null && this.#absence.proof === null && this.challenge === null
  }

  comeBack(): Promise<void> {
    // Callers know that the client is there, so it need not prove that; a comeback that fails now is retried.
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
    if (this.#absence !== null) this.#over('DISCONNECTED')
    this.#absence = null
    this.socket.dismiss()
  }

  async closed(cause: DetachCause, silentForMs: number): Promise<void> {
    if (this.#closedAs !== null) return
    this.#closedAs = { cause, silentForMs, atMs: this.#node.monotonicMs() }
    this.#node.remove(this)
    if (this.challenge !== null) this.#failChallenge(closedError())
    // Operations requested before the close count, and run first.
    await this.#presence.operations.run(this.caller.userId, async () => {
      while (this.#attaching !== null) await this.#attaching.catch(() => null)
      this.#isLeft = true
      await this.#releaseClosed()
    })
  }

  isClosed(): boolean {
    return this.#closedAs !== null
  }

  /** Runs an operation after all those requested for the user before. */
  async #run<Result>(operation: () => Promise<Result | Postponed>): Promise<Result> {
    this.#refuseIfClosed()
    this.#speaks()
    return this.#presence.operations.run(this.caller.userId, operation)
  }

  /** The client sent a message, so it is there, and need not prove that while the message waits for its turn. */
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
    if (answer.kind === 'kept') return this.#presence.heartbeatResult(null)
    if (answer.kind !== 'counted') return null
    this.#relearn(answer.session)
    return this.#presence.heartbeatResult(answer.session)
  }

  /** All steps that a heartbeat may need: the socket's proof, the session's comeback, the session's start. */
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

  #start({ mayWait: _, ...words }: HeartbeatInput): Promise<SessionView | null> {
    return this.#attach(() => ({ ...words, sessionId: this.sessionId, comeback: null }))
  }

  /**
   * Attaches a session to this socket, one attach at a time.
   *
   * @param ask - returns what to attach when its turn has come; null if there is nothing to attach any more
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

  /** Attaches under a new fence. */
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
      // A comeback is retried. Any other attach is disowned, because it may have taken effect.
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
    this.#learn(answer.session, answer)
    if (answer.replacedFence !== null) {
      const replaced = this.#node.byFence.get(answer.replacedFence)
      if (replaced !== undefined && replaced !== this) startChallenge(this.#node, replaced, answer.session)
    }
    // The socket may have closed while the store worked: nothing else would then detach the session.
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

  #learn(
    { device, rooms, startedAtMs }: SessionView,
    { atMs, lastActiveForMs, startId }: Extract<AttachAnswer, { readonly kind: 'attached' }>,
  ): void {
    const nowMs = this.#node.monotonicMs()
    this.#known = { device, rooms, startedAtMs: nowMs - (atMs - startedAtMs), startId }
    this.#lastActiveAtMs = nowMs - lastActiveForMs
  }

  #relearn(session: SessionView | null): void {
    if (session === null || (session.device === this.#known.device && session.rooms === this.#known.rooms)) return
    this.#known = { ...this.#known, device: session.device, rooms: session.rooms }
  }

  /** Detaches the session from this socket, under every fence that it may have: the session gets its grace. */
  async #release(cause: DetachCause, silentForMs: number): Promise<void> {
    const { sessionId } = this
    const fence = this.fence ?? this.#absence?.reapedFence ?? null
    if (fence !== null || this.#absence !== null) this.#over('SERVER_RESTART')
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
   * Runs an operation on the socket's own session. If another socket took the session, the challenge comes first.
   *
   * @returns null if the socket has no session
   */
  async #speak<Answer extends { readonly kind: string }>(
    words: (sessionId: string, fence: string) => Promise<Answer>,
  ): Promise<Exclude<Answer, { kind: 'late' }> | Postponed | null> {
    for (;;) {
      if (this.#attaching !== null && this.challenge === null) await this.#attaching.catch(() => null)
      if (this.challenge !== null) return afterChallenge(this.challenge)
      if (this.#absence !== null) await this.#return()
      // The app may have sent a heartbeat over HTTP a moment ago: the operation is then for that session.
      if (this.isParted()) await this.#returnAfterBeats('any')
      if (this.challenge !== null) continue
      if (this.sessionId === null || this.fence === null) return null
      const answer = await words(this.sessionId, this.fence)
      if (answer.kind !== 'late') return answer as Exclude<Answer, { kind: 'late' }>
      this.#refuseIfClosed()
      startChallenge(this.#node, this, null)
    }
  }

  /** An observer's requests for a session are answered as over HTTP. Null if the socket is no observer. */
  #observerChannel(): SessionChannel | null {
    return this.sessionId === null ? this.#presence.httpChannel(this.caller, null) : null
  }

  /** Gives the duplicated tab a session of its own, which starts without activity. */
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

  /** The node was thought dead and may have stalled: asks the client to prove that it is still there. */
  #provesToBeThere(): void {
    const untilMs = this.#node.monotonicMs() + this.#node.timing.pongTimeoutMs
    const proof = { nonce: randomUUID(), untilMs }
    this.#absence = { formerFences: [], reapedFence: this.fence, proof }
    this.#forget()
    if (this.#closedAs === null) this.socket.ping(proof.nonce)
  }

  /** Attaches the session to the socket again, unless the session moved on or is over. */
  async #return(): Promise<void> {
    let isAsked = false
    try {
      const session = await this.#attach(() => {
        // By its turn the session may be attached again, or the socket closed.
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
    const { device, rooms, startedAtMs, startId } = this.#known
    const ages = {
      startedForMs: Math.round(nowMs - startedAtMs),
      lastActiveForMs: Math.round(nowMs - this.#lastActiveAtMs),
    }
    return { sessionId, isActive: false, device, rooms, comeback: { ...ages, formerFences, startId } }
  }

  /** Remembers how the session ended, for a live state that is lost before its record is in the database. */
  #over(endReason: EndReason): void {
    const { device, rooms, startedAtMs, startId } = this.#known
    const { recentEnds } = this.#node
    if (recentEnds === null || startId === null || this.sessionId === null) return
    const end: EndedSession = {
      userId: this.caller.userId,
      startId,
      sessionId: this.sessionId,
      device,
      rooms,
      nodeId: this.#node.nodeId(),
      startedAtMs,
      lastActiveAtMs: this.#lastActiveAtMs,
      endedAtMs: this.#node.monotonicMs(),
      endReason,
    }
    // A live state that was lost is rebuilt without the session, so no record of it comes.
    const isOfLostState = this.#absence !== null && this.#absence.reapedFence === null
    if (isOfLostState) recentEnds.addLost(end)
    else recentEnds.add(end)
    // Said once: a socket whose session ended is released without one.
    this.#known = { ...this.#known, startId: null }
  }

  /** The session went offline; the socket stays open. */
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

  /** Drops the fence, because the session is over or another socket's. The socket stays open. */
  #forget(): void {
    if (this.fence !== null) this.#node.byFence.delete(this.fence)
    this.fence = null
  }
}

/** Builds the beat field by field: a spread costs more than all the rest of a heartbeat here. */
function beatOf(
  { userId, profile }: Caller,
  { isActive, device, rooms, mayWait = false }: HeartbeatInput,
  sessionId: string,
  fence: string,
): Beat {
  const beat: { -readonly [Name in keyof Beat]: Beat[Name] } = { userId, sessionId, fence, isActive, profile, mayWait }
  if (device !== undefined) beat.device = device
  if (rooms !== undefined) beat.rooms = rooms
  return beat
}

/** Pings a client whose session another socket took: a client that answers is a duplicated tab. */
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

/** Operations of a challenged socket hold up no others: the socket that took its session is the same user's. */
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
