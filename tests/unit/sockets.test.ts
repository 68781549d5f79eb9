/** The sockets of a node and its lease, over the memory store behind faults that the tests make. */
import { describe, expect, it } from 'vitest'
import { parseConfig, timingOf } from '../../src/config.ts'
import type { Caller } from '../../src/presence/access.ts'
import type { UserDirectory } from '../../src/presence/directory.ts'
import { unavailable } from '../../src/presence/errors.ts'
import type { History } from '../../src/presence/history.ts'
import type { SessionView, Settings } from '../../src/presence/model.ts'
import { createNodeLease } from '../../src/presence/node-lease.ts'
import { createPresence } from '../../src/presence/presence.ts'
import type { EndedSession } from '../../src/presence/recent-ends.ts'
import { createUserSettings } from '../../src/presence/settings.ts'
import { createSocketRegistry } from '../../src/presence/socket-registry.ts'
import type { Attachment } from '../../src/presence/socket-session.ts'
import type {
  AttachRequest,
  DetachRequest,
  NodeListener,
  PresenceStore,
  RenewRequest,
} from '../../src/presence/store.ts'
import type { Clock } from '../../src/presence/timing.ts'
import { createMemoryStore } from '../../src/stores/memory/index.ts'
import { until } from '../support/wait.ts'

/** A challenge ends here before the node's lease does, which the tests renew only where they say so. */
const TIMING = timingOf(parseConfig({ PONG_TIMEOUT: '5s' }))
const SETTINGS: Settings = {
  version: 1,
  statusChoice: 'AUTOMATIC',
  statusMessage: null,
  visibility: 'EVERYONE',
  hideLastActive: false,
}
const SEED = {
  settings: SETTINGS,
  profile: null,
  lastActiveAtMs: null,
  shownLastActiveAtMs: null,
  shownLastSeenAtMs: null,
  isActivityOver: false,
}

/** What the node says to the store. */
const STEPS = ['attach', 'detach', 'beat', 'end', 'join', 'viewer', 'renewNode', 'announced', 'adopted'] as const
type Step = (typeof STEPS)[number]

/**
 * `refused`: it does nothing. `unanswered`: it takes effect, and the caller never learns it. `held`: it takes effect,
 * and the answer waits. `late`: the caller has given up when it takes effect.
 */
type Fault =
  | { readonly kind: 'refused' | 'unanswered' }
  | { readonly kind: 'held' | 'late'; readonly until: Promise<void>; readonly done: () => void }

/** A store whose next calls fail as they are told to, and whose state can be lost. */
function openFaultyStore(clock: Clock) {
  let life = createMemoryStore({ timing: TIMING, clock })
  const faults = new Map<Step, Fault[]>()
  const calls: { readonly step: Step; readonly request: unknown }[] = []
  const listeners = new Set<NodeListener>()
  let isAway = false

  async function through(step: Step, args: readonly unknown[]): Promise<unknown> {
    calls.push({ step, request: args[0] })
    const run = (): Promise<unknown> => (life[step] as (...all: readonly unknown[]) => Promise<unknown>)(...args)
    const fault = faults.get(step)?.shift()
    if (isAway || fault?.kind === 'refused') throw unavailable('store', 'Away.')
    if (fault?.kind === 'late') {
      void fault.until.then(run).then(fault.done)
      throw unavailable('store', 'Away.')
    }
    const answer = await run()
    if (fault?.kind === 'held') await fault.until
    if (fault?.kind === 'unanswered') throw unavailable('store', 'Away.')
    return answer
  }

  function listenTo(store: PresenceStore): void {
    store.nodes.listen({
      news: () => listeners.forEach((listener) => void listener.news()),
      startAnew() {},
    })
    store.viewers.listen((userId) => {
      if (!isViewerBellMute) for (const listener of viewerListeners) listener(userId)
    })
  }
  const viewerListeners = new Set<(userId: string | null) => void>()
  let isViewerBellMute = false
  listenTo(life)
  const steps = Object.fromEntries(STEPS.map((step) => [step, (...args: readonly unknown[]) => through(step, args)]))
  const store = {
    ...life,
    ...steps,
    // As a store whose state can be lost while the nodes go on.
    budgets: { take: async () => [] },
    nodes: {
      listen(listener: NodeListener) {
        listeners.add(listener)
        return () => void listeners.delete(listener)
      },
    },
    viewers: {
      listen(listener: (userId: string | null) => void) {
        viewerListeners.add(listener)
        return () => void viewerListeners.delete(listener)
      },
    },
  } as PresenceStore

  return {
    store,
    /** The state itself, without faults. */
    life: () => life,
    fail: (step: Step, kind: 'refused' | 'unanswered') => faults.set(step, [...(faults.get(step) ?? []), { kind }]),

    /** @returns what lets the answer come, or the step itself where it is late */
    holdBack(step: Step, kind: 'held' | 'late'): () => Promise<void> {
      let go = (): void => {}
      let done = (): void => {}
      const released = new Promise<void>((resolve) => (go = resolve))
      const isDone = new Promise<void>((resolve) => (done = resolve))
      faults.set(step, [...(faults.get(step) ?? []), { kind, until: released, done }])
      return async () => {
        go()
        if (kind === 'late') await isDone
      }
    },

    /** What would be told of users is lost from here on. */
    muteViewers() {
      isViewerBellMute = true
      return { listeners: viewerListeners }
    },

    setAway(value: boolean) {
      isAway = value
    },

    requests<Request>(step: Step): readonly Request[] {
      return calls.filter((call) => call.step === step).map(({ request }) => request as Request)
    },

    /** All is lost, or may have been, and the nodes are told. */
    loseState({ isKept = false } = {}) {
      if (!isKept) {
        life = createMemoryStore({ timing: TIMING, clock })
        listenTo(life)
      }
      for (const listener of listeners) listener.startAnew()
    },
  }
}

const NO_HISTORY: History = {
  shown: async () => ({ sessions: [], hasMore: false }),
  own: async () => ({ sessions: [], hasMore: false }),
}

const DIRECTORY: UserDirectory = {
  read: async (userIds) => userIds.map(() => null),
  ensure: async (userId) => ({ userId, seed: SEED, tokensValidAfterMs: null }),
  setSettings: async () => null,
  settings: async (userIds) => userIds.map(() => null),
  setProfile: async () => null,
  revokeTokens: async () => null,
  revokeForGood: async () => 0,
  forget: async () => {},
  tokensValidAfterMs: async () => null,
  learnRevocation() {},
  forgetRevocations() {},
  leftOpen: async () => [],
  recordEnds: async () => {},
  recorded: async () => [],
}

function callerOf(userId: string, issuedAtMs = 1000): Caller {
  return { userId, profile: null, rooms: ['*'], everyone: true, role: 'member', issuedAtMs, expiresAtMs: null }
}

/** All that follows from what happened, without waiting for anything: nothing here takes time. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 10; turn += 1) await new Promise((resolve) => setImmediate(resolve))
}

function openWorld({ adopt = async () => {} }: { readonly adopt?: () => Promise<void> } = {}) {
  let nowMs = 1_000_000
  const faulty = openFaultyStore(() => ({ steadyMs: nowMs, wallMs: nowMs }))
  const { store, life } = faulty
  const errors: unknown[] = []
  const writtenEnds: EndedSession[] = []
  const onError = (error: unknown): void => void errors.push(error)
  const sockets = createSocketRegistry({ store, timing: TIMING, monotonicMs: () => nowMs, onError })
  const settings = createUserSettings({ store, directory: DIRECTORY, monotonicMs: () => nowMs })
  const presence = createPresence({
    store,
    directory: DIRECTORY,
    history: NO_HISTORY,
    settings,
    timing: TIMING,
    sockets,
  })
  const node = createNodeLease({
    store,
    sockets,
    adopt,
    writeEnds: async (ends) => void writtenEnds.push(...ends),
    dismissed(dismissals) {
      if (dismissals === 'unknown') return
      for (const { userId, issuedUpToMs } of dismissals) sockets.dismiss(userId, issuedUpToMs)
    },
    onError,
  })

  async function pass(ms: number): Promise<void> {
    for (let leftMs = ms; leftMs > 0; leftMs -= TIMING.sweepIntervalMs) {
      nowMs += Math.min(leftMs, TIMING.sweepIntervalMs)
      await life().sweep(1000)
      await life().reapNodes(1000)
    }
  }

  return {
    ...faulty,
    sockets,
    presence,
    node,
    errors,
    writtenEnds,
    pass,
    nowMs: () => nowMs,

    /** Opens a socket that writes down what it was told. */
    async open(
      userId: string,
      session: {
        readonly sessionId?: string
        readonly device?: string
        readonly rooms?: readonly string[]
      } | null = {},
      issuedAtMs?: number,
    ) {
      const told = { pings: [] as string[], isReading: false, isTerminated: false, isDismissed: false }
      const socket = {
        ping: (nonce: string) => void told.pings.push(nonce),
        isReadingUpToPing: () => told.isReading,
        terminate() {
          told.isTerminated = true
        },
        dismiss() {
          told.isDismissed = true
        },
      }
      const words = session === null ? null : { sessionId: null, isActive: true, ...session }
      const attachment = await sockets.open(presence, callerOf(userId, issuedAtMs), socket, words)
      return { attachment, told }
    },

    /** A heartbeat over HTTP without a session id, by way of another node. */
    async beatOverHttp(userId: string) {
      const beat = { userId, sessionId: null, fence: null, isActive: true, profile: null }
      if ((await life().beat(beat)).kind === 'counted') return
      await life().attach({ ...beat, nodeId: null, seed: SEED, comeback: null })
    },

    async sessions(userId: string): Promise<readonly SessionView[]> {
      const viewer = await life().viewer(userId)
      return viewer === null || viewer === 'pending' ? [] : viewer.sessions
    },

    /** The node says nothing for so long that it counts as dead. */
    beThoughtDead: () => pass(TIMING.nodeTtlMs + TIMING.sweepIntervalMs),
  }
}

describe('a socket that was reaped with its node', () => {
  it('comes back when its client answers the ping, and not before', async () => {
    const { open, node, beThoughtDead, sessions, life } = openWorld()
    const { attachment, told } = await open('alice', { rooms: ['hall'] })
    const formerFence = attachment.fence
    await beThoughtDead()
    const [lost] = await sessions('alice')
    expect(lost).toMatchObject({ fence: null })
    const position = await life().changes.position()

    await node.renew()
    expect(told.pings).toHaveLength(1)
    expect(attachment.fence).toBeNull()
    attachment.pong('another nonce')
    await node.renew()
    await settle()
    expect(await sessions('alice')).toEqual([lost])

    attachment.pong(String(told.pings[0]))
    await until(() => attachment.fence !== null, { what: 'the comeback' })
    expect(attachment.fence).not.toBe(formerFence)
    expect(await sessions('alice')).toEqual([{ ...lost, fence: attachment.fence, leaseEndsAtMs: null }])
    expect(await life().changes.position()).toEqual(position)
  })

  it('comes back when its client says anything, which proves as much', async () => {
    const { open, node, beThoughtDead, sessions } = openWorld()
    const { attachment } = await open('alice')
    const sessionId = attachment.sessionId
    await beThoughtDead()
    await node.renew()
    const { session } = await attachment.heartbeat({ isActive: true })
    expect(session).toMatchObject({ id: sessionId, fence: attachment.fence })
    expect(await sessions('alice')).toHaveLength(1)
  })

  it('is tried again at the next renewal where the store was away, under all names that it may have', async () => {
    const { open, node, beThoughtDead, sessions, fail, requests } = openWorld()
    const { attachment, told } = await open('alice')
    await beThoughtDead()
    await node.renew()
    fail('attach', 'refused')
    attachment.pong(String(told.pings[0]))
    await settle()
    expect(await sessions('alice')).toMatchObject([{ fence: null }])
    const failed = requests<AttachRequest>('attach').at(-1)

    await node.renew()
    await until(() => attachment.fence !== null, { what: 'the comeback' })
    const again = requests<AttachRequest>('attach').at(-1)
    expect(again?.comeback?.formerFences).toEqual([failed?.fence])
    expect(await sessions('alice')).toMatchObject([{ id: attachment.sessionId, fence: attachment.fence }])
  })

  it('keeps its session where the answer to its comeback was lost', async () => {
    const { open, node, beThoughtDead, sessions, fail } = openWorld()
    const { attachment, told } = await open('alice')
    const { sessionId } = attachment
    await beThoughtDead()
    await node.renew()
    fail('attach', 'unanswered')
    attachment.pong(String(told.pings[0]))
    await settle()
    expect(attachment.fence).toBeNull()
    expect(await sessions('alice')).not.toMatchObject([{ fence: null }])

    await node.renew()
    await until(() => attachment.fence !== null, { what: 'the comeback' })
    // The store says that the name of before was replaced: it is the socket's own.
    await node.renew()
    await settle()
    expect(attachment.sessionId).toBe(sessionId)
    expect(await sessions('alice')).toMatchObject([{ id: sessionId, fence: attachment.fence }])
    expect(told).toMatchObject({ pings: [expect.anything()], isTerminated: false })
  })

  it('is let go as silent where its client answers nothing for PONG_TIMEOUT', async () => {
    const { open, node, beThoughtDead, sessions, sockets, pass, requests, errors, nowMs } = openWorld()
    const { attachment, told } = await open('alice')
    const { fence } = attachment
    await beThoughtDead()
    await node.renew()
    await pass(TIMING.pongTimeoutMs - 1000)
    sockets.checkChallenges(false)
    expect([told.isTerminated, sockets.isReturning()]).toEqual([false, true])
    await pass(1000)
    // A check that comes late itself judges nobody.
    sockets.checkChallenges(true)
    expect(told.isTerminated).toBe(false)
    sockets.checkChallenges(false)
    await settle()
    expect([told.isTerminated, sockets.isReturning()]).toEqual([true, false])
    expect(requests<DetachRequest>('detach')).toMatchObject([
      { fence, cause: 'silent', silentForMs: TIMING.pongTimeoutMs },
    ])
    const [session] = await sessions('alice')
    expect(session?.leaseEndsAtMs).toBe(nowMs() + TIMING.reconnectGraceMs - TIMING.pongTimeoutMs)
    await attachment.closed('ended', 0)
    expect(requests('detach')).toHaveLength(1)
    expect(errors).toEqual([])
  })

  it('is told at the next renewal how it was closed while it was absent and the store away', async () => {
    const { open, node, beThoughtDead, sessions, sockets, setAway, requests, nowMs } = openWorld()
    const { attachment } = await open('alice')
    const { fence } = attachment
    await beThoughtDead()
    await node.renew()
    await settle()
    setAway(true)
    await expect(attachment.closed('closed', 0)).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    await expect(node.renew()).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    expect(sockets.isReturning()).toBe(true)
    setAway(false)
    await node.renew()
    await settle()
    expect(requests<DetachRequest>('detach').at(-1)).toMatchObject({ fence, cause: 'closed' })
    expect(sockets.isReturning()).toBe(false)
    const [session] = await sessions('alice')
    expect(session?.leaseEndsAtMs).toBe(nowMs() + TIMING.closeGraceMs)
  })

  it('makes its node one that returns until it has its session again', async () => {
    const { open, node, beThoughtDead, requests } = openWorld()
    const { attachment, told } = await open('alice')
    await node.renew()
    await beThoughtDead()
    await node.renew()
    await node.renew()
    attachment.pong(String(told.pings[0]))
    await until(() => attachment.fence !== null, { what: 'the comeback' })
    await node.renew()
    const said = requests<RenewRequest>('renewNode').map(({ isReturning }) => isReturning)
    expect(said).toEqual([false, false, true, false])
  })

  it('is taken for a duplicate where its session has moved on, and leaves it alone', async () => {
    const { open, node, beThoughtDead, sessions, life, sockets, pass } = openWorld()
    const { attachment, told } = await open('alice')
    await beThoughtDead()
    const fence = 'another-node:1'
    await life().attach({
      userId: 'alice',
      sessionId: attachment.sessionId,
      fence,
      nodeId: 'another-node',
      isActive: false,
      profile: null,
      seed: null,
      comeback: null,
    })
    await node.renew()
    attachment.pong(String(told.pings[0]))
    await until(() => told.pings.length === 2, { what: 'the challenge' })
    expect(await sessions('alice')).toMatchObject([{ fence }])
    await pass(TIMING.pongTimeoutMs)
    sockets.checkChallenges(false)
    await settle()
    expect(told.isTerminated).toBe(true)
    expect(await sessions('alice')).toMatchObject([{ fence }])
  })
})

describe('a socket whose session another one took', () => {
  async function replaced() {
    const world = openWorld()
    const first = await world.open('alice')
    const second = await world.open('alice', { sessionId: String(first.attachment.sessionId) })
    const check = async (afterMs: number) => {
      await world.pass(afterMs)
      world.sockets.checkChallenges(false)
      await settle()
    }
    return { ...world, first, second, check }
  }

  it('is ended when its client does not answer in time', async () => {
    const { first, check } = await replaced()
    await check(TIMING.pongTimeoutMs - 1)
    expect(first.told.isTerminated).toBe(false)
    await check(1)
    expect(first.told).toMatchObject({ pings: [expect.any(String)], isTerminated: true })
  })

  it('has the time again while its client reads what was sent before the question', async () => {
    const { first, node, check } = await replaced()
    first.told.isReading = true
    for (let times = 0; times < 3; times += 1) {
      await check(TIMING.pongTimeoutMs)
      await node.renew()
      expect(first.told.isTerminated).toBe(false)
    }
    first.told.isReading = false
    await check(TIMING.pongTimeoutMs)
    expect(first.told).toMatchObject({ pings: [expect.any(String)], isTerminated: true })
  })
})

describe('where the live state begins anew', () => {
  it('attaches every session again under another node id, as it was', async () => {
    const { open, pass, sessions, sockets, loseState, requests, life } = openWorld()
    const alice = await open('alice', { rooms: ['hall'], device: 'phone' })
    const bob = await open('bob')
    await open('observer', null)
    const nodeId = sockets.nodeId()
    await pass(3000)
    await alice.attachment.changeRoom('join', 'bar')
    await alice.attachment.heartbeat({ isActive: true })
    await pass(2000)
    const before = { alice: await sessions('alice'), bob: await sessions('bob') }
    const attachCount = requests('attach').length

    loseState()
    await until(() => requests('announced').length === 1, { what: 'the announcement' })
    expect(sockets.nodeId()).not.toBe(nodeId)
    for (const [userId, { attachment }] of Object.entries({ alice, bob })) {
      const [was] = before[userId as 'alice' | 'bob']
      expect(await sessions(userId)).toEqual([{ ...was, fence: attachment.fence }])
      expect(attachment.fence).toMatch(new RegExp(`^${sockets.nodeId()}:`))
    }
    const attached = requests<AttachRequest>('attach').slice(attachCount)
    expect(attached.every((request) => request.nodeId === sockets.nodeId())).toBe(true)
    expect(await life().lookup(['observer'])).toEqual([null])
  })

  it('says that it has announced when all are there, and not before', async () => {
    const { open, node, sessions, loseState, fail, requests } = openWorld()
    await open('alice')
    await open('bob')
    fail('attach', 'refused')
    loseState()
    await settle()
    expect(requests('announced')).toEqual([])
    await node.renew()
    await until(() => requests('announced').length === 1, { what: 'the announcement' })
    expect([...(await sessions('alice')), ...(await sessions('bob'))]).toHaveLength(2)
    await node.renew()
    await settle()
    expect(requests('announced')).toHaveLength(1)
  })

  it('announces again where the word itself was lost', async () => {
    const { node, loseState, fail, requests } = openWorld()
    fail('announced', 'unanswered')
    loseState()
    await settle()
    await node.renew()
    await until(() => requests('announced').length === 2, { what: 'the second word' })
  })

  it('does not bring back who went offline', async () => {
    const { open, sessions, loseState, requests } = openWorld()
    const { attachment } = await open('alice')
    await attachment.goOffline()
    loseState()
    await until(() => requests('announced').length === 1, { what: 'the announcement' })
    expect(await sessions('alice')).toEqual([])
  })

  it.each<{ how: string; endReason: string; end: (world: ReturnType<typeof openWorld>, own: Attachment) => unknown }>([
    { how: 'its socket closes', endReason: 'SERVER_RESTART', end: (_, own) => own.closed('closed', 0) },
    {
      how: 'the user ends it over HTTP',
      endReason: 'WENT_OFFLINE',
      end: ({ sockets }) => sockets.endedByUser('alice', null),
    },
    { how: 'its token is revoked', endReason: 'DISCONNECTED', end: ({ sockets }) => sockets.dismiss('alice', null) },
  ])('writes a session that ends before it is there again to the database: $how', async ({ end, endReason }) => {
    const world = openWorld()
    const { open, node, sessions, loseState, fail, writtenEnds } = world
    const { attachment } = await open('alice')
    fail('attach', 'refused')
    loseState()
    await settle()
    await end(world, attachment)
    await node.renew()
    await until(() => writtenEnds.length > 0, { what: 'the end' })
    expect(writtenEnds).toMatchObject([{ userId: 'alice', sessionId: attachment.sessionId, endReason }])
    expect(await sessions('alice')).toEqual([])
    await node.renew()
    await settle()
    expect(writtenEnds).toHaveLength(1)
  })

  it('attaches again what was attached to the state of before while it was lost', async () => {
    const { open, sessions, sockets, loseState, holdBack } = openWorld()
    // The store knows the user by then, so one attach does.
    const { attachment: first } = await open('alice')
    await first.goOffline()
    await settle()
    const release = holdBack('attach', 'held')
    const opening = open('alice', { rooms: ['hall'] })
    await settle()
    loseState()
    await settle()
    expect(await sessions('alice')).toEqual([])
    await release()
    const { attachment } = await opening
    await until(() => attachment.fence?.startsWith(sockets.nodeId()) === true, { what: 'the comeback' })
    expect(await sessions('alice')).toMatchObject([{ fence: attachment.fence, rooms: ['hall'] }])
  })

  describe('with a duplicated tab that has not answered yet', () => {
    async function duplicated() {
      const world = openWorld()
      const first = await world.open('alice', { rooms: ['hall'], device: 'phone' })
      const second = await world.open('alice', { sessionId: String(first.attachment.sessionId) })
      expect(first.told.pings).toHaveLength(1)
      world.loseState()
      await until(() => world.requests('announced').length === 1, { what: 'the announcement' })
      return { ...world, first, second }
    }

    it('leaves no ghost where it never answers', async () => {
      const { first, second, sessions, pass, sockets, node } = await duplicated()
      expect(await sessions('alice')).toMatchObject([{ fence: second.attachment.fence }])
      await pass(TIMING.pongTimeoutMs)
      sockets.checkChallenges(false)
      expect(first.told.isTerminated).toBe(true)
      await first.attachment.closed('silent', TIMING.pongTimeoutMs)
      await node.renew()
      await settle()
      expect(await sessions('alice')).toMatchObject([
        { id: second.attachment.sessionId, fence: second.attachment.fence },
      ])
      expect(second.told).toMatchObject({ pings: [], isTerminated: false })
    })

    it('leaves no ghost where the state is that of before the other came', async () => {
      const { open, life, loseState, pass, sockets, node, sessions } = openWorld()
      const first = await open('alice')
      const sessionId = String(first.attachment.sessionId)
      const fence = first.attachment.fence
      const second = await open('alice', { sessionId })
      // What the store had said to the second is forgotten, and then its client goes.
      await life().attach({
        ...{ userId: 'alice', sessionId, fence, nodeId: sockets.nodeId() },
        ...{ isActive: false, profile: null, seed: null, comeback: null },
      })
      await second.attachment.closed('ended', 0)
      loseState({ isKept: true })
      await settle()
      expect(await sessions('alice')).toMatchObject([{ fence }])
      await pass(TIMING.pongTimeoutMs)
      sockets.checkChallenges(false)
      expect(first.told.isTerminated).toBe(true)
      await node.renew()
      await until(async () => (await sessions('alice'))[0]?.fence === null, { what: 'the detach' })
    })

    it('gives it a session of its own where it answers', async () => {
      const { first, second, sessions, node } = await duplicated()
      const { sessionId } = second.attachment
      first.attachment.pong(String(first.told.pings[0]))
      await until(() => first.attachment.sessionId !== sessionId && first.attachment.fence !== null, {
        what: 'the session of its own',
      })
      await node.renew()
      await settle()
      const all = await sessions('alice')
      expect(all.map(({ id, fence, rooms, device }) => [id, fence, rooms, device]).sort()).toEqual(
        [first, second].map(({ attachment: { sessionId: id, fence } }) => [id, fence, ['hall'], 'phone']).sort(),
      )
      await first.attachment.closed('ended', 0)
      await second.attachment.closed('ended', 0)
      expect(await sessions('alice')).toMatchObject([{ fence: null }, { fence: null }])
    })
  })
})

describe('a socket whose session went offline, and whose client beats over HTTP since', () => {
  async function parted(world: ReturnType<typeof openWorld>, userId = 'alice') {
    const opened = await world.open(userId)
    await opened.attachment.goOffline()
    await settle()
    return opened
  }

  it('has its session again', async () => {
    const world = openWorld()
    const { attachment } = await parted(world)
    const { sessionId } = attachment
    expect(attachment.fence).toBeNull()
    await world.beatOverHttp('alice')
    await until(() => attachment.fence !== null, { what: 'the return' })
    expect(await world.sessions('alice')).toMatchObject([{ id: sessionId, fence: attachment.fence }])
    expect(attachment).toMatchObject({ sessionId, isResumed: false, rooms: [] })
    // It closes, and takes the session along.
    await attachment.closed('closed', 0)
    await world.pass(TIMING.closeGraceMs + TIMING.sweepIntervalMs)
    expect(await world.sessions('alice')).toEqual([])
  })

  it('has it also where the word came from elsewhere, and a beat before the node learnt of it', async () => {
    const world = openWorld()
    const { attachment } = await world.open('alice')
    const formerFence = attachment.fence
    // The node hears of the loss only by its renewal.
    const release = world.holdBack('renewNode', 'held')
    await world.life().end({ userId: 'alice', sessionId: null, fence: null, reason: 'WENT_OFFLINE' })
    await world.beatOverHttp('alice')
    await settle()
    expect(await world.sessions('alice')).toMatchObject([{ id: 'default' }])
    await release()
    await until(() => attachment.fence !== null && attachment.fence !== formerFence, { what: 'the return' })
    expect(await world.sessions('alice')).toMatchObject([{ id: attachment.sessionId }])
  })

  it('is the newest, where the word and the beat came from elsewhere and both are known at once', async () => {
    const world = openWorld()
    const older = await world.open('alice')
    const newest = await world.open('alice')
    const former = newest.attachment.fence
    const release = world.holdBack('renewNode', 'held')
    await world.life().end({ userId: 'alice', sessionId: null, fence: null, reason: 'WENT_OFFLINE' })
    await world.beatOverHttp('alice')
    await release()
    await until(() => older.attachment.fence === null && newest.attachment.fence !== former, { what: 'the return' })
    await settle()
    expect(older.attachment.fence).toBeNull()
    expect(await world.sessions('alice')).toMatchObject([{ id: newest.attachment.sessionId }])
  })

  it('is the newest, where the beat comes while both are asked about', async () => {
    const world = openWorld()
    const older = await world.open('alice')
    const newest = await world.open('alice')
    const release = world.holdBack('attach', 'held')
    const { fences } = await world.life().end({ userId: 'alice', sessionId: null, fence: null, reason: 'WENT_OFFLINE' })
    world.sockets.ended(fences)
    await settle()
    await world.beatOverHttp('alice')
    await release()
    await until(async () => (await world.sessions('alice'))[0]?.fence != null, { what: 'the return' })
    await settle()
    expect(older.attachment.fence).toBeNull()
    expect(await world.sessions('alice')).toMatchObject([{ id: newest.attachment.sessionId }])
  })

  it('stays without where it was told to close, or is closed', async () => {
    const world = openWorld()
    const dismissed = await parted(world)
    world.sockets.dismiss('alice', null)
    const closed = await parted(world, 'bob')
    await closed.attachment.closed('closed', 0)
    for (const userId of ['alice', 'bob']) {
      await world.beatOverHttp(userId)
      await settle()
      expect(await world.sessions(userId)).toMatchObject([{ id: 'default', fence: null }])
    }
    expect(dismissed.attachment.fence).toBeNull()
    expect(world.errors).toEqual([])
  })

  it('is asked about again where the store was away', async () => {
    const world = openWorld()
    const { attachment } = await parted(world)
    world.fail('attach', 'refused')
    await world.beatOverHttp('alice')
    await settle()
    expect(attachment.fence).toBeNull()
    await world.node.renew()
    await until(() => attachment.fence !== null, { what: 'the return' })
    expect(world.errors).toEqual([])
  })

  it('is asked about where messages may have been lost', async () => {
    const world = openWorld()
    const { attachment } = await parted(world)
    const bob = await parted(world, 'bob')
    // Unheard: the listener was away.
    const { listeners } = world.muteViewers()
    for (const userId of ['alice', 'bob']) await world.beatOverHttp(userId)
    await settle()
    expect([attachment.fence, bob.attachment.fence]).toEqual([null, null])
    for (const listener of listeners) listener(null)
    await until(() => attachment.fence !== null && bob.attachment.fence !== null, { what: 'both returns' })
  })

  it('costs the store nothing where no session went offline', async () => {
    const world = openWorld()
    await world.open('alice')
    await world.open('alice', null)
    const attachCount = world.requests('attach').length
    await world.beatOverHttp('alice')
    await world.life().join({ userId: 'alice', sessionId: 'none', fence: null, room: 'hall' })
    await world.open('bob')
    await settle()
    expect(world.requests('attach')).toHaveLength(attachCount + 2)
  })

  it('speaks for the session also where it was not told yet that its client is back', async () => {
    for (const speak of ['goOffline', 'join'] as const) {
      const world = openWorld()
      const { attachment } = await parted(world)
      world.muteViewers()
      await world.beatOverHttp('alice')
      if (speak === 'goOffline') await attachment.goOffline()
      else expect(await attachment.changeRoom('join', 'hall')).toMatchObject({ id: attachment.sessionId })
      expect(await world.sessions('alice')).toHaveLength(speak === 'goOffline' ? 0 : 1)
    }
  })

  it('keeps what it says in order with the return', async () => {
    const world = openWorld()
    const { attachment } = await parted(world)
    const release = world.holdBack('attach', 'held')
    await world.beatOverHttp('alice')
    await settle()
    const left = attachment.goOffline()
    await settle()
    await release()
    await left
    await settle()
    expect(await world.sessions('alice')).toEqual([])
    expect(attachment.fence).toBeNull()
  })
})

describe('a loss that overtakes the answer to its attach', () => {
  /** The answer to the attach of alice is under way when the session is lost. */
  async function overtaken(lose: (world: ReturnType<typeof openWorld>, sessionId: string) => Promise<unknown>) {
    const world = openWorld()
    // So that the store knows the user, and the first attach is the one.
    await world.open('alice')
    const sessionId = 'session-of-the-test'
    const release = world.holdBack('attach', 'held')
    const opening = world.open('alice', { sessionId })
    await settle()
    await lose(world, sessionId)
    await world.node.renew()
    await release()
    const opened = await opening
    await settle()
    return { ...world, ...opened, sessionId }
  }

  it('is applied where another socket took the session', async () => {
    const { attachment, told, sessions, sessionId } = await overtaken(({ life }, id) =>
      life().attach({
        userId: 'alice',
        sessionId: id,
        fence: 'another-node:1',
        nodeId: 'another-node',
        isActive: false,
        profile: null,
        seed: null,
        comeback: null,
      }),
    )
    expect(told.pings).toHaveLength(1)
    attachment.pong(String(told.pings[0]))
    await until(() => attachment.sessionId !== sessionId && attachment.fence !== null, {
      what: 'the session of its own',
    })
    expect((await sessions('alice')).find(({ id }) => id === sessionId)).toMatchObject({ fence: 'another-node:1' })
  })

  it('is applied where the session ended', async () => {
    const { attachment, told, sessions, sessionId } = await overtaken(({ life }, id) =>
      life().end({ userId: 'alice', sessionId: id, fence: null, reason: 'WENT_OFFLINE' }),
    )
    expect(attachment.fence).toBeNull()
    expect(told).toMatchObject({ pings: [], isTerminated: false, isDismissed: false })
    await attachment.closed('ended', 0)
    expect((await sessions('alice')).some(({ id }) => id === sessionId)).toBe(false)
  })

  it('is applied where its user was dismissed', async () => {
    const { told } = await overtaken(({ life }, id) =>
      life().end({ userId: 'alice', sessionId: id, fence: null, reason: 'DISCONNECTED' }),
    )
    expect(told.isDismissed).toBe(true)
  })

  it('is applied where its node was thought dead', async () => {
    const { attachment, told, sessions, sessionId } = await overtaken(({ beThoughtDead }) => beThoughtDead())
    expect(attachment.fence).toBeNull()
    expect(told.pings).toHaveLength(1)
    attachment.pong(String(told.pings[0]))
    await until(() => attachment.fence !== null, { what: 'the comeback' })
    expect((await sessions('alice')).find(({ id }) => id === sessionId)).toMatchObject({ fence: attachment.fence })
  })
})

describe('a socket that closed while the store was away', () => {
  it.each([
    ['silent', TIMING.reconnectGraceMs],
    ['ended', TIMING.reconnectGraceMs],
    ['closed', TIMING.closeGraceMs],
  ] as const)('is told at the next renewal as %s, with the whole grace from then', async (cause, wholeGraceMs) => {
    const { open, node, pass, sessions, fail, requests, life } = openWorld()
    const { attachment } = await open('alice')
    const fence = attachment.fence
    fail('detach', 'refused')
    await expect(attachment.closed(cause, 10_000)).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    await pass(2000)
    expect(await sessions('alice')).toMatchObject([{ fence }])
    // Still away.
    fail('detach', 'refused')
    await node.renew()
    await settle()
    expect(await sessions('alice')).toMatchObject([{ fence }])

    const nowMs = 1_000_000 + 2000
    await node.renew()
    await until(async () => (await sessions('alice'))[0]?.fence === null, { what: 'the detach' })
    expect(await sessions('alice')).toMatchObject([{ leaseEndsAtMs: nowMs + wholeGraceMs }])
    const told = requests('detach').length
    await node.renew()
    await settle()
    expect(requests('detach')).toHaveLength(told)
    expect((await life().lookup(['alice']))[0]).toMatchObject({ isOnline: true })
  })

  it('is told as uncertain where its attach was not answered, and its session gets the grace', async () => {
    const { open, node, sessions, fail, requests } = openWorld()
    await open('alice')
    fail('attach', 'unanswered')
    await expect(open('alice', { sessionId: 'unanswered' })).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    const unanswered = async () => (await sessions('alice')).find(({ id }) => id === 'unanswered')
    expect(await unanswered()).toMatchObject({ leaseEndsAtMs: null })

    await node.renew()
    await until(async () => (await unanswered())?.fence === null, { what: 'the detach' })
    expect(requests<DetachRequest>('detach')).toMatchObject([{ sessionId: 'unanswered', isAttachUncertain: true }])
  })

  it('starts no session by an attach that comes only after that', async () => {
    const { open, node, sessions, holdBack, requests } = openWorld()
    await open('alice')
    const deliver = holdBack('attach', 'late')
    await expect(open('alice', { sessionId: 'late' })).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    await node.renew()
    await until(() => requests('detach').length === 1, { what: 'the detach' })
    await deliver()
    expect((await sessions('alice')).map(({ id }) => id)).not.toContain('late')
  })

  it('leaves nothing of a comeback whose answer was lost', async () => {
    const { open, node, beThoughtDead, sessions, fail } = openWorld()
    const { attachment, told } = await open('alice')
    await beThoughtDead()
    await node.renew()
    fail('attach', 'unanswered')
    attachment.pong(String(told.pings[0]))
    await settle()
    expect(await sessions('alice')).not.toMatchObject([{ fence: null }])
    await attachment.closed('ended', 0)
    await node.renew()
    await until(async () => (await sessions('alice'))[0]?.fence === null, { what: 'the detach' })
  })
})

describe('a dismissal from elsewhere', () => {
  it('closes exactly the sockets whose token is not younger', async () => {
    const { open, node, life, sessions, fail } = openWorld()
    const older = await open('alice', {}, 1000)
    const observers = {
      older: await open('alice', null, 1000),
      asOld: await open('alice', null, 2000),
      younger: await open('alice', null, 2001),
    }
    const other = await open('bob', {}, 1000)
    await node.renew()
    // The node learns it only when somebody has come with a fresh token.
    fail('renewNode', 'refused')
    await life().end({
      userId: 'alice',
      sessionId: null,
      fence: null,
      reason: 'DISCONNECTED',
      tokensIssuedUpToMs: 2000,
    })
    const younger = await open('alice', {}, 3000)
    await settle()
    await node.renew()
    const closed = [older, observers.older, observers.asOld, observers.younger, younger, other].map(
      ({ told }) => told.isDismissed,
    )
    expect(closed).toEqual([true, true, true, false, false, false])
    expect(await sessions('alice')).toMatchObject([{ fence: younger.attachment.fence }])
    expect(await sessions('bob')).toHaveLength(1)
  })

  it('is learnt at once, and one that comes while a renewal is under way by another', async () => {
    const { open, node, life, holdBack, requests } = openWorld()
    const alice = await open('alice', null)
    const bob = await open('bob', null)
    await node.renew()
    const dismiss = (userId: string) =>
      life().end({ userId, sessionId: null, fence: null, reason: 'DISCONNECTED', tokensIssuedUpToMs: 5000 })
    const release = holdBack('renewNode', 'held')
    await dismiss('alice')
    await settle()
    await dismiss('bob')
    await settle()
    expect([alice.told.isDismissed, bob.told.isDismissed]).toEqual([false, false])
    await release()
    await until(() => alice.told.isDismissed && bob.told.isDismissed, { what: 'both dismissals' })
    await settle()
    expect(requests('renewNode')).toHaveLength(3)
  })

  it('that may have been lost with the live state is asked for', async () => {
    const { node, loseState, requests } = openWorld()
    await node.renew()
    loseState()
    await node.renew()
    expect(requests('renewNode')).toMatchObject([{ seenDismissalCount: null }, { seenDismissalCount: -1 }])
  })
})

describe('what an earlier run left open', () => {
  it('is brought until all of it is there, and then no more', async () => {
    let attempts = 0
    const { node, requests } = openWorld({
      async adopt() {
        attempts += 1
        if (attempts === 1) throw unavailable('postgres', 'Away.')
      },
    })
    await node.renew()
    await settle()
    expect([attempts, requests('adopted').length]).toEqual([1, 0])
    await node.renew()
    await settle()
    expect([attempts, requests('adopted').length]).toEqual([2, 1])
    await node.renew()
    await settle()
    expect(attempts).toBe(2)
  })

  it('does not count as brought where another life of the state began meanwhile', async () => {
    let finish = (): void => {}
    const { node, requests, loseState } = openWorld({ adopt: () => new Promise((resolve) => (finish = resolve)) })
    await node.renew()
    loseState()
    finish()
    await settle()
    expect(requests('adopted')).toEqual([])
    await node.renew()
    finish()
    await until(() => requests('adopted').length === 1, { what: 'the word that it is done' })
  })
})

describe('what a socket said before it closed', () => {
  it('is done first, and its session gets its grace then', async () => {
    const { open, sessions, holdBack, pass, requests } = openWorld()
    const { attachment } = await open('alice')
    await pass(1000)
    const release = holdBack('beat', 'held')
    const all = [
      attachment.heartbeat({ isActive: true, rooms: ['hall'] }),
      attachment.changeRoom('join', 'bar'),
      attachment.closed('closed', 0),
    ]
    await settle()
    expect(requests('detach')).toEqual([])
    await release()
    await Promise.all(all)
    const [session] = await sessions('alice')
    expect(session).toMatchObject({ fence: null, rooms: ['hall', 'bar'] })
    expect(session?.lastActiveAtMs).toBe(Number(session?.startedAtMs) + 1000)
  })

  it('starts its session where it is over, and that gets its grace', async () => {
    const { open, sessions } = openWorld()
    const { attachment } = await open('alice')
    await attachment.goOffline()
    const beating = attachment.heartbeat({ isActive: true, rooms: ['hall'] })
    const joining = attachment.changeRoom('join', 'bar')
    await Promise.all([beating, joining, attachment.closed('closed', 0)])
    expect(await sessions('alice')).toMatchObject([{ fence: null, rooms: ['hall', 'bar'] }])
  })

  it('counts where its session was reaped meanwhile', async () => {
    const { open, node, beThoughtDead, sessions } = openWorld()
    const { attachment, told } = await open('alice')
    await beThoughtDead()
    await node.renew()
    await Promise.all([attachment.heartbeat({ isActive: true, rooms: ['hall'] }), attachment.closed('ended', 0)])
    expect(await sessions('alice')).toMatchObject([{ fence: null, rooms: ['hall'] }])
    expect(told.pings).toHaveLength(1)
  })

  it('starts no challenge on it, and takes nothing from the socket that replaced it', async () => {
    const { open, sessions, life, sockets, pass } = openWorld()
    const { attachment, told } = await open('alice')
    const fence = 'another-node:1'
    await life().attach({
      userId: 'alice',
      sessionId: attachment.sessionId,
      fence,
      nodeId: 'another-node',
      isActive: false,
      profile: null,
      seed: null,
      comeback: null,
    })
    const beating = attachment.heartbeat({ isActive: true, rooms: ['hall'] })
    const closing = attachment.closed('closed', 0)
    await expect(beating).rejects.toMatchObject({ code: 'UNAUTHENTICATED' })
    await closing
    expect(told.pings).toEqual([])
    expect(await sessions('alice')).toMatchObject([{ fence, rooms: [] }])
    await pass(TIMING.pongTimeoutMs)
    sockets.checkChallenges(false)
    expect(told.isTerminated).toBe(false)
  })

  it('is all that counts: what comes after it is refused', async () => {
    const { open, sessions } = openWorld()
    const { attachment } = await open('alice')
    await attachment.goOffline()
    await attachment.closed('closed', 0)
    const refused = { code: 'UNAUTHENTICATED' }
    await expect(attachment.heartbeat({ isActive: true })).rejects.toMatchObject(refused)
    await expect(attachment.changeRoom('join', 'hall')).rejects.toMatchObject(refused)
    await expect(attachment.goOffline()).rejects.toMatchObject(refused)
    expect(await sessions('alice')).toEqual([])
  })
})

it('a reaped socket that speaks has proved to be there, however long the answer takes', async () => {
  const { open, node, beThoughtDead, sessions, sockets, holdBack, pass } = openWorld()
  const { attachment, told } = await open('alice')
  await beThoughtDead()
  await node.renew()
  const release = holdBack('attach', 'held')
  const beating = attachment.heartbeat({ isActive: true, rooms: ['hall'] })
  await settle()
  for (let passedMs = 0; passedMs < 2 * TIMING.pongTimeoutMs; passedMs += TIMING.nodeRenewMs) {
    await pass(TIMING.nodeRenewMs)
    await node.renew()
    sockets.checkChallenges(false)
  }
  expect(told.isTerminated).toBe(false)
  await release()
  await beating
  expect(await sessions('alice')).toMatchObject([{ fence: attachment.fence, rooms: ['hall'] }])
})

describe('a socket that was replaced, and has not answered yet', () => {
  async function replaced() {
    const world = openWorld()
    const older = await world.open('alice', { rooms: ['hall'] })
    const newer = await world.open('alice', { sessionId: String(older.attachment.sessionId) })
    await settle()
    expect(older.told.pings).toHaveLength(1)
    return { ...world, older, newer }
  }

  it('does not hold up the socket that replaced it, nor its user over HTTP', async () => {
    const { older, newer, presence, sessions } = await replaced()
    const waiting = older.attachment.heartbeat({ isActive: true, rooms: ['old'] })
    await newer.attachment.changeRoom('join', 'bar')
    await newer.attachment.heartbeat({ isActive: true })
    await presence.httpChannel(callerOf('alice'), newer.attachment.sessionId).changeRoom('join', 'cellar')
    expect(await sessions('alice')).toMatchObject([{ rooms: ['hall', 'bar', 'cellar'] }])

    older.attachment.pong(String(older.told.pings[0]))
    expect((await waiting).session).toMatchObject({ id: older.attachment.sessionId, rooms: ['old'] })
    expect(await sessions('alice')).toMatchObject([{ rooms: ['hall', 'bar', 'cellar'] }, { rooms: ['old'] }])
  })

  it('does what it was asked in that order when it has answered', async () => {
    const { older, sessions } = await replaced()
    const all = [
      older.attachment.heartbeat({ isActive: true, rooms: ['a'] }),
      older.attachment.changeRoom('join', 'b'),
      older.attachment.goOffline(),
      older.attachment.heartbeat({ isActive: true, rooms: ['c'] }),
      older.attachment.changeRoom('join', 'd'),
    ]
    await settle()
    older.attachment.pong(String(older.told.pings[0]))
    const last = older.attachment.changeRoom('leave', 'c')
    await Promise.all([...all, last])
    expect((await sessions('alice')).map(({ rooms }) => rooms)).toEqual([['hall'], ['d']])
  })

  it('starts no session where its user went offline everywhere since', async () => {
    const { older, presence, sessions, life, newer } = await replaced()
    const waiting = older.attachment.heartbeat({ isActive: true })
    await settle()
    await presence.goOffline(callerOf('alice'), newer.attachment, true)
    await expect(waiting).rejects.toMatchObject({ code: 'NOT_FOUND' })
    older.attachment.pong(String(older.told.pings[0]))
    await settle()
    expect(await sessions('alice')).toEqual([])
    expect(await life().viewer('alice')).toMatchObject({ isOnline: false })
    await older.attachment.heartbeat({ isActive: true })
    expect(await sessions('alice')).toMatchObject([{ id: older.attachment.sessionId }])
  })

  it('is refused all that it was asked where it does not answer', async () => {
    const { older, pass, sockets, sessions, newer } = await replaced()
    const all = [older.attachment.heartbeat({ isActive: true }), older.attachment.goOffline()]
    const refusals = Promise.allSettled(all)
    await pass(TIMING.pongTimeoutMs)
    sockets.checkChallenges(false)
    for (const { status } of await refusals) expect(status).toBe('rejected')
    await expect(older.attachment.changeRoom('join', 'bar')).rejects.toMatchObject({ code: 'UNAUTHENTICATED' })
    await older.attachment.closed('ended', 0)
    expect(await sessions('alice')).toMatchObject([{ fence: newer.attachment.fence, rooms: ['hall'] }])
  })
})

describe('what is asked over HTTP for the session of a socket', () => {
  it('takes effect after the heartbeats of the socket that are under way, and before those that come later', async () => {
    const { open, presence, sessions, holdBack } = openWorld()
    const { attachment } = await open('alice')
    const named = presence.httpChannel(callerOf('alice'), attachment.sessionId)
    const release = holdBack('beat', 'held')
    const before = attachment.heartbeat({ isActive: true })
    const leaving = named.goOffline()
    const after = attachment.heartbeat({ isActive: false })
    await settle()
    await release()
    expect((await before).session).toMatchObject({ id: attachment.sessionId })
    await leaving
    expect((await after).session).toBeNull()
    expect(attachment.fence).toBeNull()
    expect(await sessions('alice')).toEqual([])
    await attachment.heartbeat({ isActive: true })
    expect(await sessions('alice')).toMatchObject([{ id: attachment.sessionId, fence: attachment.fence }])
  })

  it('ends a session that its node lost, which then does not come back', async () => {
    const { open, presence, sessions, node, beThoughtDead } = openWorld()
    const { attachment, told } = await open('alice')
    await open('alice', {})
    await beThoughtDead()
    await node.renew()
    await presence.httpChannel(callerOf('alice'), attachment.sessionId).goOffline()
    attachment.pong(String(told.pings[0]))
    await node.renew()
    await settle()
    expect((await sessions('alice')).map(({ id }) => id)).not.toContain(attachment.sessionId)
  })

  it('waits for a comeback that is under way', async () => {
    const { open, presence, sessions, node, beThoughtDead, holdBack } = openWorld()
    const { attachment, told } = await open('alice')
    await beThoughtDead()
    await node.renew()
    const release = holdBack('attach', 'held')
    attachment.pong(String(told.pings[0]))
    const leaving = presence.goOffline(callerOf('alice'), attachment, true)
    await settle()
    await release()
    await leaving
    await node.renew()
    await settle()
    expect(attachment.fence).toBeNull()
    expect(await sessions('alice')).toEqual([])
  })
})

it('goOffline holds where the live state begins anew while its answer is on the way', async () => {
  const { open, node, sessions, holdBack, loseState } = openWorld()
  const { attachment } = await open('alice')
  await node.renew()
  const release = holdBack('end', 'held')
  const leaving = attachment.goOffline()
  await settle()
  loseState()
  await release()
  await leaving
  await node.renew()
  await settle()
  expect(await sessions('alice')).toEqual([])
})
