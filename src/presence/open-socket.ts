/**
 * One socket and the session that hangs on it: it speaks for it, loses it, proves that it is no duplicate, and brings
 * it back (rules 5 and 6).
 *
 * A socket's session can be taken by a newer socket, ended from elsewhere, or lost with the node's lease; the socket
 * learns it by its fence. It knows no socket library: an adapter fills `NodeSocket`.
 */
import { randomUUID } from 'node:crypto'
import type { Caller } from './access.ts'
import { isUnavailable, unauthenticated, unavailable } from './errors.ts'
import type { EndReason, SessionView } from './model.ts'
import {
  type Attach,
  type HeartbeatResult,
  type HeartbeatWords,
  type Presence,
  type SessionChannel,
  sessionOf,
} from './presence.ts'
import type { DetachCause } from './rules.ts'
import type { DetachRequest, Loss, PresenceStore } from './store.ts'
import type { PresenceTiming } from './timing.ts'

export interface NodeSocket {
  /** Sends a ping whose pong has to bring the nonce back. */
  ping(nonce: string): void
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
  pong(nonce: string): void
  /** @param silentForMs - since the last frame from the client */
  closed(cause: DetachCause, silentForMs: number): Promise<void>
}

/** An `Attachment` as its node has it. */
export interface OpenSocket extends Attachment {
  sessionId: string | null
  fence: string | null
  readonly socket: NodeSocket
  challenge: Challenge | null
  challengeFailed(): void
  /** Hangs the session that the client named on the socket. */
  start(words: HeartbeatWords): Promise<SessionView | null>
  lost(cause: Loss['cause']): void
  /** It was lost by a name under which it is not known yet. */
  lostBeforeAnswer(loss: Loss): void
  /** Its session has to be attached again, to a live state that begins anew. */
  letGo(): void
  /** Whether its session has to be attached again, and nothing has to be proved first. */
  mustComeBack(): boolean
  comeBack(): Promise<void>
  dismiss(): void
}

interface Challenge {
  readonly nonce: string
  readonly untilMs: number
  /** What the socket says meanwhile waits for it; rejected where the socket did not answer. */
  readonly settled: Promise<void>
  readonly pass: () => void
  readonly fail: (error: Error) => void
  /** The session that the socket was a duplicate of, as far as it is known. */
  readonly other: Pick<SessionView, 'device' | 'rooms'> | null
}

/** A session that its node lost, and will attach again. */
interface Absence {
  /** Names by which it may hang on this socket: the one that it had, and those of comebacks without an answer. */
  readonly formerFences: readonly string[]
  /** What the client's pong has to bring back first, null where it need not prove that it is there. */
  readonly nonce: string | null
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
  readonly byFence: Map<string, OpenSocket>
  readonly challenged: Set<OpenSocket>
  nodeId(): string
  mintFence(): string
  /** Where the store is away it is told later. */
  tellDetach(request: DetachRequest): Promise<void>
  tellLater(request: DetachRequest): void
  /** It is closed. */
  remove(open: OpenSocket): void
}

type Request = Omit<Attach, 'userId' | 'fence' | 'nodeId'>

/** Comebacks without an answer whose names are kept: hours of an outage, at one a heartbeat. */
const FORMER_MOST = 100

/** @param namedSessionId - null for an observer */
export function createOpenSocket(
  node: SocketsOfNode,
  presence: Presence,
  caller: Caller,
  socket: NodeSocket,
  namedSessionId: string | null,
): OpenSocket {
  const { store, monotonicMs, onError, byFence, challenged } = node
  let lastActiveAtMs = monotonicMs()
  let known: Known = { device: null, rooms: [], startedAtMs: lastActiveAtMs }
  let absence: Absence | null = null
  let returning: Promise<void> | null = null
  let closedAs: { cause: DetachCause; silentForMs: number; atMs: number } | null = null
  /** The attach under way: what the socket says of its session meanwhile waits for it. */
  let attaching: Promise<SessionView | null> | null = null
  /** What was lost by an attach whose answer is on its way still. */
  let lostEarly: Loss | null = null
  /** Told to close: nothing that it says starts a session any more. */
  let isDismissed = false

  /**
   * Hangs a session on this socket. One at a time.
   *
   * @param ask - says what to attach when its turn has come, null where there is nothing to attach any more
   */
  function attach(ask: () => Request | null): Promise<SessionView | null> {
    const attached = (attaching ?? Promise.resolve(null))
      .catch(() => null)
      .then(() => {
        const request = ask()
        return request === null ? null : attachNow(request)
      })
      .finally(() => {
        if (attaching === attached) attaching = null
      })
    attaching = attached
    return attached
  }

  /** By a new fence. */
  async function attachNow(request: Request): Promise<SessionView | null> {
    if (isDismissed) throw unauthenticated('The socket was told to close.')
    const mintedBy = node.nodeId()
    const fence = node.mintFence()
    byFence.set(fence, open)
    let answer: Awaited<ReturnType<Presence['attach']>>
    try {
      answer = await presence.attach(caller, { ...request, userId: caller.userId, fence, nodeId: mintedBy })
    } catch (error) {
      byFence.delete(fence)
      // A comeback is tried again; whatever else may have taken effect must not matter.
      if (absence !== null && request.comeback !== null) {
        absence = { ...absence, formerFences: [...absence.formerFences.slice(-FORMER_MOST), fence] }
      } else disown(fence, request.sessionId)
      throw error
    }
    if (answer.kind !== 'attached' || answer.session === null) {
      byFence.delete(fence)
      return null
    }
    if (open.fence !== null) byFence.delete(open.fence)
    open.fence = fence
    open.sessionId = answer.session.id
    absence = null
    const lostMeanwhile = lostEarly
    lostEarly = null
    learn(answer.session, answer.atMs)
    if (answer.replacedFence !== null) {
      const replaced = byFence.get(answer.replacedFence)
      if (replaced !== undefined && replaced !== open) startChallenge(node, replaced, answer.session)
    }
    // It may have closed while the store worked: then nobody else would take the session from it.
    if (closedAs !== null) await release(closedAs.cause, closedAs.silentForMs + (monotonicMs() - closedAs.atMs))
    else if (isDismissed) {
      const sessionId = answer.session.id
      forget()
      await store.end({ userId: caller.userId, sessionId, fence, reason: 'DISCONNECTED' })
    } else if (mintedBy !== node.nodeId()) {
      // The live state began anew while the answer was on its way: nobody there knows the name by which it came.
      open.letGo()
      open.comeBack().catch(onError)
    } else if (lostMeanwhile?.fence === fence) open.lost(lostMeanwhile.cause)
    return answer.session
  }

  /** Whether the attach took effect is not known, and must not matter: nobody is there to be pinged. */
  function disown(fence: string, sessionId: string | null): void {
    if (sessionId === null) return
    const request = { userId: caller.userId, sessionId, fence, cause: 'ended' as const, silentForMs: 0 }
    node.tellLater({ ...request, isAttachUncertain: true })
  }

  function learn(session: SessionView, storeNowMs: number): void {
    const offsetMs = monotonicMs() - storeNowMs
    const { device, rooms, startedAtMs } = session
    known = { device, rooms, startedAtMs: startedAtMs + offsetMs }
    lastActiveAtMs = session.lastActiveAtMs + offsetMs
  }

  function relearn(session: SessionView | null): void {
    if (session !== null) known = { ...known, device: session.device, rooms: session.rooms }
  }

  /** The session hangs on this socket no more, by whatever name it may have: it gets its grace. */
  async function release(cause: DetachCause, silentForMs: number): Promise<void> {
    const { fence, sessionId } = open
    for (const former of absence?.formerFences ?? []) disown(former, sessionId)
    absence = null
    forget()
    if (fence === null || sessionId === null) return
    await node.tellDetach({ userId: caller.userId, sessionId, fence, cause, silentForMs })
  }

  /** Says something of the socket's own session; where another socket took it, after proving to be there. */
  async function speak<Answer extends { readonly kind: string }>(
    words: (sessionId: string, fence: string) => Promise<Answer>,
  ): Promise<Exclude<Answer, { kind: 'late' }> | null> {
    for (;;) {
      if (attaching !== null && open.challenge === null) await attaching.catch(() => null)
      if (open.challenge !== null) await open.challenge.settled
      // It speaks, so it is there.
      if (absence !== null) await open.comeBack()
      if (open.challenge !== null) continue
      if (open.sessionId === null || open.fence === null) return null
      const answer = await words(open.sessionId, open.fence)
      if (answer.kind !== 'late') return answer as Exclude<Answer, { kind: 'late' }>
      startChallenge(node, open, null)
    }
  }

  /** What an observer asks for a session is answered as over HTTP. */
  function observerChannel(): SessionChannel | null {
    return open.sessionId === null ? presence.httpChannel(caller, null) : null
  }

  async function end(reason: EndReason): Promise<void> {
    await speak((sessionId, fence) => store.end({ userId: caller.userId, sessionId, fence, reason }))
    forget()
  }

  const open: OpenSocket = {
    caller,
    socket,
    sessionId: namedSessionId,
    fence: null,
    challenge: null,

    async heartbeat(words): Promise<HeartbeatResult> {
      const observer = observerChannel()
      if (observer !== null) return observer.heartbeat(words)
      // Whether the store hears of it or not, for it may have to be told later.
      if (words.isActive) lastActiveAtMs = monotonicMs()
      const beat = { userId: caller.userId, ...words, profile: caller.profile }
      const answer = await speak(async (sessionId, fence) => {
        const [answered] = await store.beat([{ ...beat, sessionId, fence }])
        return answered ?? { kind: 'unknown' as const }
      })
      if (answer?.kind === 'counted') {
        relearn(answer.session)
        return presence.heartbeatResult(answer.session)
      }
      // The session is over: only activity starts it again (rule 5).
      if (!words.isActive) return presence.heartbeatResult(null)
      return presence.heartbeatResult(await open.start(words))
    },

    async changeRoom(kind, room) {
      const observer = observerChannel()
      if (observer !== null) return observer.changeRoom(kind, room)
      const answer = await speak((sessionId, fence) => store[kind]({ userId: caller.userId, sessionId, fence, room }))
      const session = sessionOf(answer ?? { kind: 'unknown' })
      relearn(session)
      return session
    },

    async goOffline() {
      const observer = observerChannel()
      if (observer !== null) return observer.goOffline()
      await end('WENT_OFFLINE')
    },

    start: (words) => attach(() => ({ ...words, sessionId: open.sessionId, comeback: null })),

    pong(nonce) {
      // Out of the list at once: from here on it is not judged.
      if (open.challenge?.nonce === nonce && challenged.delete(open)) becomeOwn(open.challenge).catch(onError)
      if (absence?.nonce === nonce) open.comeBack().catch(onError)
    },

    challengeFailed() {
      challenged.delete(open)
      open.challenge?.fail(unauthenticated('Another socket has taken this session.'))
      // It is another socket's, or so it seems: where it hangs on this one after all, nobody else lets it go.
      release('ended', 0).catch(onError)
      socket.terminate()
    },

    lostBeforeAnswer(loss) {
      lostEarly = loss
    },

    lost(cause) {
      if (cause === 'replaced') startChallenge(node, open, null)
      else if (cause === 'reaped') provesToBeThere()
      else if (cause === 'DISCONNECTED') open.dismiss()
      else forget()
    },

    letGo() {
      absence = { formerFences: open.fence === null ? [] : [open.fence], nonce: null }
      forget()
    },

    // While it has to prove that it is no duplicate, nothing is said for it.
    mustComeBack: () => absence !== null && absence.nonce === null && open.challenge === null,

    comeBack() {
      // Whoever calls it knows that somebody is there; where it fails now, it is tried again.
      if (absence !== null) absence = { ...absence, nonce: null }
      returning ??= returnNow().finally(() => {
        returning = null
      })
      return returning
    },

    dismiss() {
      isDismissed = true
      absence = null
      socket.dismiss()
    },

    async closed(cause, silentForMs) {
      if (closedAs !== null) return
      closedAs = { cause, silentForMs, atMs: monotonicMs() }
      node.remove(open)
      open.challenge?.fail(unauthenticated('The socket is closed.'))
      await release(cause, silentForMs)
    },
  }

  /** The duplicated tab is a session of its own from now on, and nobody did anything in it. */
  async function becomeOwn(challenge: Challenge): Promise<void> {
    try {
      const other = challenge.other ?? (await otherSession())
      await release('ended', 0)
      open.sessionId = randomUUID()
      await attach(() => ({ sessionId: open.sessionId, isActive: false, comeback: null, ...other }))
      open.challenge = null
      challenge.pass()
    } catch (error) {
      challenge.fail(unavailable('store', 'The session could not be started.', { cause: error }))
      socket.terminate()
      throw error
    }
  }

  async function otherSession(): Promise<Challenge['other']> {
    const viewer = await store.viewer(caller.userId)
    const session = viewer === 'pending' ? undefined : viewer?.sessions.find(({ id }) => id === open.sessionId)
    return session === undefined ? null : { device: session.device, rooms: session.rooms }
  }

  /** The node was thought dead, so it may have been away itself: does anybody still hold this socket? */
  function provesToBeThere(): void {
    absence = { formerFences: [], nonce: randomUUID() }
    forget()
    socket.ping(String(absence.nonce))
  }

  /** Hangs the session on the socket again, unless it moved on or is over. */
  async function returnNow(): Promise<void> {
    let isAsked = false
    try {
      const session = await attach(() => {
        // By its turn it may be there again, or closed.
        if (absence === null || closedAs !== null || open.sessionId === null) return null
        isAsked = true
        return comebackOf(absence, open.sessionId)
      })
      if (!isAsked) return
      absence = null
      if (session === null) startChallenge(node, open, null)
    } catch (error) {
      // Out of reach, it is tried again; all else is an answer.
      if (!isUnavailable(error)) absence = null
      throw error
    }
  }

  function comebackOf({ formerFences }: Absence, sessionId: string): Request {
    const nowMs = monotonicMs()
    const { device, rooms, startedAtMs } = known
    const ages = {
      startedForMs: Math.round(nowMs - startedAtMs),
      lastActiveForMs: Math.round(nowMs - lastActiveAtMs),
    }
    return { sessionId, isActive: false, device, rooms, comeback: { ...ages, formerFences } }
  }

  /** The session is over, or another's; the socket stays. */
  function forget(): void {
    if (open.fence !== null) byFence.delete(open.fence)
    open.fence = null
  }

  return open
}

/** Pings a socket whose session another one took: who answers is a duplicated tab. */
function startChallenge(
  { timing, monotonicMs, challenged }: SocketsOfNode,
  open: OpenSocket,
  other: Challenge['other'],
): void {
  if (open.challenge !== null) return
  let pass = (): void => {}
  let fail = (_error: Error): void => {}
  const settled = new Promise<void>((resolve, reject) => {
    pass = resolve
    fail = reject
  })
  // Whether anything waits for it or not, a refusal is not an unhandled one.
  settled.catch(() => {})
  open.challenge = { nonce: randomUUID(), untilMs: monotonicMs() + timing.pongTimeoutMs, settled, pass, fail, other }
  challenged.add(open)
  open.socket.ping(open.challenge.nonce)
}
