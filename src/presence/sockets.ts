/**
 * The sockets of this node and the sessions that hang on them (rules 5 and 6).
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

export interface SocketsOptions {
  readonly store: PresenceStore
  readonly timing: PresenceTiming
  /** Ages are measured with it: monotonic ms. */
  readonly monotonicMs: () => number
  readonly onError: (error: unknown) => void
}

export type Sockets = ReturnType<typeof createSockets>

interface OpenSocket extends Attachment {
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

/** Comebacks without an answer whose names are kept: hours of an outage, at one a heartbeat. */
const FORMER_MOST = 100
/** Detaches that are told together, when the store is back. */
const TOLD_AT_ONCE = 64

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

export function createSockets({ store, timing, monotonicMs, onError }: SocketsOptions) {
  const byUser = new Map<string, Set<OpenSocket>>()
  const byFence = new Map<string, OpenSocket>()
  const challenged = new Set<OpenSocket>()
  /** Detaches that the store could not be told. As many as there were sockets when it went away. */
  const untold = new Map<string, DetachRequest>()
  /** The process's name in the live state: new at each start, and whenever that state begins anew. */
  let nodeId: string = randomUUID()
  let mintedCount = 0

  function mintFence(): string {
    mintedCount += 1
    return `${nodeId}:${mintedCount}`
  }

  async function tellDetach(request: DetachRequest): Promise<void> {
    try {
      await store.detach(request)
    } catch (error) {
      // Told again when the store is back. Its grace counts from then: nobody could come back meanwhile.
      untold.set(request.fence, { ...request, silentForMs: 0 })
      throw error
    }
  }

  function startChallenge(open: OpenSocket, other: Challenge['other']): void {
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

  function createOpenSocket(
    presence: Presence,
    caller: Caller,
    socket: NodeSocket,
    namedSessionId: string | null,
  ): OpenSocket {
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

    /** Hangs a session on this socket. One at a time. */
    function attach(request: Omit<Attach, 'userId' | 'fence' | 'nodeId'>): Promise<SessionView | null> {
      const attached = (attaching ?? Promise.resolve(null))
        .catch(() => null)
        .then(() => attachNow(request))
        .finally(() => {
          if (attaching === attached) attaching = null
        })
      attaching = attached
      return attached
    }

    /** By a new fence. */
    async function attachNow(request: Omit<Attach, 'userId' | 'fence' | 'nodeId'>): Promise<SessionView | null> {
      if (isDismissed) throw unauthenticated('The socket was told to close.')
      const mintedBy = nodeId
      const fence = mintFence()
      byFence.set(fence, open)
      let answer: Awaited<ReturnType<Presence['attach']>>
      try {
        answer = await presence.attach(caller, { ...request, userId: caller.userId, fence, nodeId })
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
        if (replaced !== undefined && replaced !== open) startChallenge(replaced, answer.session)
      }
      // It may have closed while the store worked: then nobody else would take the session from it.
      if (closedAs !== null) await detach()
      else if (isDismissed) {
        const sessionId = answer.session.id
        forget()
        await store.end({ userId: caller.userId, sessionId, fence, reason: 'DISCONNECTED' })
      } else if (mintedBy !== nodeId) {
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
      untold.set(fence, { ...request, isAttachUncertain: true })
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

    async function detach(): Promise<void> {
      if (open.fence === null || open.sessionId === null || closedAs === null) return
      const { fence, sessionId } = open
      open.fence = null
      byFence.delete(fence)
      const silentForMs = closedAs.silentForMs + (monotonicMs() - closedAs.atMs)
      await tellDetach({ userId: caller.userId, sessionId, fence, cause: closedAs.cause, silentForMs })
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
        startChallenge(open, null)
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

      start: (words) => attach({ ...words, sessionId: open.sessionId, comeback: null }),

      pong(nonce) {
        // Out of the list at once: from here on it is not judged.
        if (open.challenge?.nonce === nonce && challenged.delete(open)) becomeOwn(open.challenge).catch(onError)
        if (absence?.nonce === nonce) open.comeBack().catch(onError)
      },

      challengeFailed() {
        challenged.delete(open)
        open.challenge?.fail(unauthenticated('Another socket has taken this session.'))
        letGoOfSession().catch(onError)
        socket.terminate()
      },

      lostBeforeAnswer(loss) {
        lostEarly = loss
      },

      lost(cause) {
        if (cause === 'replaced') startChallenge(open, null)
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
        remove(open)
        open.challenge?.fail(unauthenticated('The socket is closed.'))
        for (const fence of absence?.formerFences ?? []) disown(fence, open.sessionId)
        absence = null
        await detach()
      },
    }

    /** The duplicated tab is a session of its own from now on, and nobody did anything in it. */
    async function becomeOwn(challenge: Challenge): Promise<void> {
      try {
        const other = challenge.other ?? (await otherSession())
        await letGoOfSession()
        open.sessionId = randomUUID()
        await attach({ sessionId: open.sessionId, isActive: false, comeback: null, ...other })
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
      if (absence === null || closedAs !== null || open.sessionId === null) return
      const { formerFences } = absence
      const nowMs = monotonicMs()
      const request = {
        sessionId: open.sessionId,
        isActive: false,
        device: known.device,
        rooms: known.rooms,
        comeback: {
          startedForMs: Math.round(nowMs - known.startedAtMs),
          lastActiveForMs: Math.round(nowMs - lastActiveAtMs),
          formerFences,
        },
      }
      try {
        const session = await attach(request)
        absence = null
        if (session === null) startChallenge(open, null)
      } catch (error) {
        // Out of reach, it is tried again; all else is an answer.
        if (!isUnavailable(error)) absence = null
        throw error
      }
    }

    /** The session is another socket's, or so it seems: where it hangs on this one after all, it gets its grace. */
    async function letGoOfSession(): Promise<void> {
      const { fence, sessionId } = open
      for (const former of absence?.formerFences ?? []) disown(former, sessionId)
      absence = null
      forget()
      if (fence === null || sessionId === null) return
      await tellDetach({ userId: caller.userId, sessionId, fence, cause: 'ended', silentForMs: 0 })
    }

    /** The session is over, or another's; the socket stays. */
    function forget(): void {
      if (open.fence !== null) byFence.delete(open.fence)
      open.fence = null
    }

    return open
  }

  function away(): OpenSocket[] {
    return [...byUser.values()].flatMap((opens) => [...opens].filter((open) => open.mustComeBack()))
  }

  function add(open: OpenSocket): void {
    const userId = open.caller.userId
    const ofUser = byUser.get(userId)
    if (ofUser === undefined) byUser.set(userId, new Set([open]))
    else ofUser.add(open)
  }

  function remove(open: OpenSocket): void {
    challenged.delete(open)
    const ofUser = byUser.get(open.caller.userId)
    ofUser?.delete(open)
    if (ofUser?.size === 0) byUser.delete(open.caller.userId)
  }

  return {
    /**
     * Takes in a socket whose client said who they are, and starts or attaches its session.
     *
     * @param session - null for an observer
     */
    async open(
      presence: Presence,
      caller: Caller,
      socket: NodeSocket,
      session: (HeartbeatWords & { readonly sessionId: string | null }) | null,
    ): Promise<Attachment> {
      const open = createOpenSocket(
        presence,
        caller,
        socket,
        session === null ? null : (session.sessionId ?? randomUUID()),
      )
      add(open)
      if (session === null) return open
      try {
        const { sessionId: _named, ...words } = session
        await open.start(words)
      } catch (error) {
        remove(open)
        throw error
      }
      return open
    },

    userIds: (): Iterable<string> => byUser.keys(),

    /** How many sockets a user has open here. */
    countOf(userId: string): number {
      return byUser.get(userId)?.size ?? 0
    },

    /** Their sessions ended by a word from elsewhere. */
    ended(fences: readonly string[]): void {
      for (const fence of fences) byFence.get(fence)?.lost('WENT_OFFLINE')
    },

    /** @param issuedUpToMs - only sockets whose token is not younger; null: all of the user's */
    dismiss(userId: string, issuedUpToMs: number | null): void {
      for (const open of byUser.get(userId) ?? []) {
        if (issuedUpToMs === null || open.caller.issuedAtMs <= issuedUpToMs) open.dismiss()
      }
    },

    nodeId: (): string => nodeId,

    /** One of this node's sockets no longer has its session. */
    lost(loss: Loss): void {
      const open = byFence.get(loss.fence)
      if (open?.fence === loss.fence) open.lost(loss.cause)
      else open?.lostBeforeAnswer(loss)
    },

    /** The live state begins anew: under another name, every session has to be attached again (`comeBack`). */
    startAnew(): void {
      nodeId = randomUUID()
      for (const open of [...byFence.values()]) if (open.fence !== null) open.letGo()
    },

    /**
     * Attaches again what has to be, without waiting for clients to prove that they are there.
     *
     * @returns how many could not be: they are tried again at the next call
     */
    async comeBack(): Promise<number> {
      await Promise.allSettled(away().map((open) => open.comeBack()))
      return away().length
    },

    /** Tells the store of sockets that closed while it was away. */
    async tellUntold(): Promise<void> {
      const requests = [...untold.values()]
      for (let from = 0; from < requests.length; from += TOLD_AT_ONCE) {
        await Promise.all(
          requests.slice(from, from + TOLD_AT_ONCE).map(async (request) => {
            await store.detach(request)
            untold.delete(request.fence)
          }),
        )
      }
    },

    /** Closes replaced sockets that did not answer. @param wasLate - the check itself came late: it judges nobody */
    checkChallenges(wasLate: boolean): void {
      const nowMs = monotonicMs()
      if (wasLate) return
      for (const open of challenged)
        if (open.challenge !== null && nowMs >= open.challenge.untilMs) open.challengeFailed()
    },
  }
}
