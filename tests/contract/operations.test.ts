/**
 * Operations of one user that are sent together, over a socket and over HTTP, against the same operations sent one
 * after the other: the same answers, and the same state.
 */
import { randomUUID } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Caller } from '../../src/presence/access.ts'
import type { UserDirectory } from '../../src/presence/directory.ts'
import { PresenceError } from '../../src/presence/errors.ts'
import type { History } from '../../src/presence/history.ts'
import type { SessionView, Settings } from '../../src/presence/model.ts'
import { createPresence, type HeartbeatInput, type HeartbeatResult } from '../../src/presence/presence.ts'
import { newerSettings } from '../../src/presence/rules.ts'
import { createUserSettings } from '../../src/presence/settings.ts'
import { createSocketRegistry } from '../../src/presence/socket-registry.ts'
import type { Attachment } from '../../src/presence/socket-session.ts'
import { openMemory } from './memory-harness.ts'
import { CALM, type Harness, type Open, seedOf, VISIBLE, viewerOf } from './presence-store/harness.ts'
import { openRedis } from './redis-harness.ts'

const STORES: readonly { readonly name: string; readonly open: Open; readonly runs: number }[] = [
  { name: 'memory', open: openMemory, runs: 500 },
  { name: 'Redis, which gathers', open: (request) => openRedis(request, { beatFlushMs: 5 }), runs: 100 },
  { name: 'Redis, which does not', open: (request) => openRedis(request, { beatFlushMs: 0 }), runs: 50 },
]

const rooms = fc.option(fc.subarray(['x', 'y']), { nil: undefined, freq: 2 })
const room = fc.constantFrom('x', 'y')
const isActive = fc.oneof({ weight: 3, arbitrary: fc.constant(true) }, { weight: 1, arbitrary: fc.constant(false) })
/** The ways in that a client takes: by its tab's socket, over HTTP with its session named, over HTTP without a name. */
function operationsBy(beats: readonly Way[], rooms_: readonly Way[], ends: readonly (Way | 'everywhere')[]) {
  return [
    {
      weight: 6,
      arbitrary: fc.record({ kind: fc.constant('heartbeat'), by: fc.constantFrom(...beats), isActive, rooms }),
    },
    {
      weight: 4,
      arbitrary: fc.record({ kind: fc.constant('room'), by: fc.constantFrom(...rooms_), isJoin: fc.boolean(), room }),
    },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant('go offline'), by: fc.constantFrom(...ends) }) },
    {
      weight: 1,
      arbitrary: fc.record({
        kind: fc.constant('status'),
        statusChoice: fc.constantFrom('AUTOMATIC', 'AWAY', 'BUSY'),
        // Statements on several connections: what is asked last may be done first.
        turnsOfPostgres: fc.nat({ max: 4 }),
      }),
    },
  ] as const
}
type Way = 'socket' | 'HTTP' | 'HTTP alone'

/**
 * A tab, which names its session over HTTP too. Without a name a heartbeat would start `default`, and the node takes the
 * tab's session back for it at a moment of its own (tests/e2e/two-ways-in.test.ts).
 */
const ofTab = fc.oneof(
  ...operationsBy(
    ['socket', 'socket', 'HTTP'],
    ['socket', 'socket', 'HTTP'],
    ['socket', 'socket', 'HTTP', 'everywhere'],
  ),
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('open'), isActive, rooms }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('close'), cause: fc.constantFrom('closed', 'ended') }) },
)
/** Programs without a socket. */
const ofPrograms = fc.oneof(
  ...operationsBy(['HTTP', 'HTTP alone'], ['HTTP', 'HTTP alone'], ['HTTP', 'HTTP alone', 'everywhere']),
)
type Operation = typeof ofTab extends fc.Arbitrary<infer Value> ? Value : never

function historyOf(operation: fc.Arbitrary<Operation>, hasSocket: boolean) {
  return fc.record({
    hasSocket: fc.constant(hasSocket),
    isOver: fc.boolean(),
    /** How many turns of the event loop lie between one and the next: the first may be at any of its steps. */
    steps: fc.array(fc.record({ operation, turns: fc.constantFrom(0, 0, 0, 1, 2) }), { minLength: 2, maxLength: 7 }),
  })
}
const history = fc.oneof(
  { weight: 3, arbitrary: historyOf(ofTab, true) },
  { weight: 1, arbitrary: historyOf(ofPrograms, false) },
)

async function turn(count: number): Promise<void> {
  for (let done = 0; done < count; done += 1) await new Promise((resolve) => setImmediate(resolve))
}

const NO_HISTORY: History = {
  shown: async () => ({ sessions: [], hasMore: false }),
  own: async () => ({ sessions: [], hasMore: false }),
}

function openWorld({ store }: Harness) {
  const settings = new Map<string, Settings>()
  let turnsOfPostgres = 0
  const directory: UserDirectory = {
    read: async (userIds) => userIds.map(() => null),
    ensure: async (userId) => ({
      userId,
      seed: { ...seedOf(VISIBLE), settings: settings.get(userId) ?? VISIBLE },
      tokensValidAfterMs: null,
    }),
    async setSettings(userId, change, base) {
      await turn(turnsOfPostgres)
      const before = newerSettings(settings.get(userId) ?? VISIBLE, base) ?? VISIBLE
      const after = { ...before, ...change, version: before.version + 1 }
      settings.set(userId, after)
      return after
    },
    settings: async (userIds) => userIds.map((userId) => settings.get(userId) ?? VISIBLE),
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
  const errors: unknown[] = []
  const monotonicMs = () => performance.now()
  const sockets = createSocketRegistry({
    store,
    timing: CALM,
    monotonicMs,
    onError: (error) => errors.push(error),
  })
  const chosen = createUserSettings({ store, directory, monotonicMs })
  const presence = createPresence({ store, directory, history: NO_HISTORY, settings: chosen, timing: CALM, sockets })

  /** A user, and what their client does. */
  function person(userId: string) {
    const caller: Caller = {
      ...{ userId, profile: null, rooms: ['**'], everyone: true, issuedAtMs: 1000, expiresAtMs: null },
      role: 'member',
    }
    const sessionId = randomUUID()
    /** The newest socket; null while there is none. Those that it replaced say nothing any more. */
    let attachment: Promise<Attachment> | null = null
    const named = () => presence.httpChannel(caller, sessionId)
    const unnamed = () => presence.httpChannel(caller, null)

    function open(words: HeartbeatInput): Promise<Attachment> {
      const socket = { ping() {}, isReadingUpToPing: () => false, terminate() {}, dismiss() {} }
      attachment = sockets.open(presence, caller, socket, { ...words, sessionId })
      return attachment
    }

    function wordsOf(one: { isActive: boolean; rooms: readonly string[] | undefined }): HeartbeatInput {
      return { isActive: one.isActive, ...(one.rooms === undefined ? {} : { rooms: one.rooms }) }
    }

    /** @returns the answer, under way; null where there is no socket to ask by */
    async function ask(one: Operation): Promise<{ readonly answer: Promise<unknown> } | null> {
      if (one.kind === 'status') {
        turnsOfPostgres = one.turnsOfPostgres
        return { answer: presence.setStatus(caller, one.statusChoice, undefined) }
      }
      if (one.kind === 'open') return { answer: open(wordsOf(one)).then(() => null) }
      const isBySocket = one.kind === 'close' || one.by === 'socket'
      // A client says nothing on a socket before it is acknowledged.
      const socket = isBySocket ? await attachment : null
      if (isBySocket && socket === null) return null
      if (one.kind === 'close') {
        attachment = null
        return { answer: Promise.resolve(socket?.closed(one.cause, 0)) }
      }
      const channel = socket ?? (one.by === 'HTTP' ? named() : unnamed())
      if (one.kind === 'heartbeat') return { answer: channel.heartbeat(wordsOf(one)) }
      if (one.kind === 'room') {
        return { answer: presence.changeRoom(caller, channel, one.isJoin ? 'join' : 'leave', one.room) }
      }
      return { answer: presence.goOffline(caller, channel, one.by === 'everywhere') }
    }

    function plain(session: SessionView | null): unknown {
      if (session === null) return null
      // Not whether it hangs on the socket: after a heartbeat over HTTP the node sees to that when it comes to it.
      const { id, rooms, startedAtMs, lastActiveAtMs } = session
      return { id: id === sessionId ? 'named' : id, rooms, startedAtMs, lastActiveAtMs }
    }

    async function plainAnswer(answer: Promise<unknown> | undefined): Promise<unknown> {
      try {
        const found = await answer
        if (typeof found !== 'object' || found === null) return found ?? null
        if ('nextHeartbeatInMs' in found) return plain((found as HeartbeatResult).session)
        return plain(found as SessionView)
      } catch (error) {
        return error instanceof PresenceError ? error.code : error
      }
    }

    return {
      ask,
      plainAnswer,

      async begin({ hasSocket, isOver }: { readonly hasSocket: boolean; readonly isOver: boolean }): Promise<void> {
        const channel = hasSocket ? await open({ isActive: true }) : named()
        await channel.heartbeat({ isActive: true })
        if (isOver) await channel.goOffline()
      },

      async truth(): Promise<unknown> {
        sockets.returns.look(userId)
        await sockets.returns.ask()
        const { sessions, isOnline, status, statusChoice, lastActiveAtMs } = await viewerOf(store, userId)
        const areAttached = sessions.map(({ fence }) => fence !== null)
        return { sessions: sessions.map(plain), areAttached, isOnline, status, statusChoice, lastActiveAtMs }
      },
    }
  }

  return { person, errors, presence }
}

describe.each(STORES)('operations sent together, on $name', ({ open, runs }) => {
  it('do and answer what they would do and answer one after the other', { timeout: 120_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(history, async ({ steps, ...begun }) => {
        const harness = await open({ namespace: randomUUID(), timing: CALM })
        try {
          const world = openWorld(harness)
          const [patient, hasty, other] = ['patient', 'hasty', 'other'].map(world.person) as [Person, Person, Person]
          for (const person of [patient, hasty]) await person.begin(begun)
          await other.begin({ hasSocket: true, isOver: false })
          await harness.pass(1000)

          const expected: unknown[] = []
          for (const { operation } of steps) {
            const asked = await patient.ask(operation)
            expected.push(await patient.plainAnswer(asked?.answer))
          }
          // From here on heartbeats are gathered for a moment.
          await (await other.ask({ kind: 'heartbeat', by: 'socket', isActive: true, rooms: undefined }))?.answer
          const answers: Promise<unknown>[] = []
          for (const { operation, turns } of steps) {
            const asked = await hasty.ask(operation)
            answers.push(hasty.plainAnswer(asked?.answer))
            await turn(turns)
          }
          expect(await Promise.all(answers)).toEqual(expected)
          expect(await hasty.truth()).toEqual(await patient.truth())
          expect(world.errors).toEqual([])
          expect(world.presence.operations.isIdle()).toBe(true)
        } finally {
          await harness.close()
        }
      }),
      { numRuns: runs },
    )
  })
})

type Person = ReturnType<ReturnType<typeof openWorld>['person']>
