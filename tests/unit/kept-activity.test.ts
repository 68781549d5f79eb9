import { describe, expect, it } from 'vitest'
import type { SessionView } from '../../src/presence/model.ts'
import type { Beat, BeatAnswer } from '../../src/presence/store.ts'
import { createKeptActivity, type Kept, usableLagMs } from '../../src/stores/redis/kept-activity.ts'

const LAG_MS = 100

function openKept({ lagMs = LAG_MS, most = 10 } = {}) {
  let nowMs = 1000
  const calls: {
    readonly kept: readonly Kept[]
    readonly answer: (lostPlaces: readonly number[]) => Promise<void>
    readonly fail: () => Promise<void>
  }[] = []
  let lossCount = 0
  let urgentCount = 0
  const kept = createKeptActivity({
    lagMs,
    most,
    monotonicMs: () => nowMs,
    onUrgent() {
      urgentCount += 1
    },
    send: (sessions) =>
      new Promise((resolve, reject) => {
        calls.push({
          kept: sessions,
          async answer(lostPlaces) {
            resolve(lostPlaces)
            await settled()
          },
          async fail() {
            reject(new Error('Redis is away.'))
            await settled()
          },
        })
      }),
    onLoss() {
      lossCount += 1
    },
  })

  return {
    kept,
    pass(ms: number): void {
      nowMs += ms
    },
    lossCount: () => lossCount,
    urgentCount: () => urgentCount,
    /** The calls since the last look, each as the list of user ids with ages. */
    sent: (): readonly (readonly string[])[] =>
      calls.splice(0).map((call) => call.kept.map(({ userId, agoMs }) => `${userId} ${agoMs} ms ago`)),
    /** The next call. */
    call() {
      const call = calls.shift()
      if (call === undefined) throw new Error('Expected a call.')
      return call
    },
    /** A heartbeat that goes to Redis, and is counted. */
    count(beat: Beat, session: Partial<SessionView> = {}): void {
      kept.asked(beat)
      kept.answered(beat, countedAs(beat, session))
    },
  }
}

/** Resolves when all promises that are settled by now have been handled. */
async function settled(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve))
}

function beatOf(userId: string, more: Partial<Beat> = {}): Beat {
  const own = { userId, sessionId: `session of ${userId}`, fence: `fence of ${userId}` }
  return { ...own, isActive: true, profile: null, mayWait: true, ...more }
}

function countedAs({ sessionId, fence }: Beat, session: Partial<SessionView>): BeatAnswer {
  const view = { device: null, rooms: [], startedAtMs: 0, lastActiveAtMs: 0, leaseEndsAtMs: null, ...session }
  return { kind: 'counted', session: { id: String(sessionId), fence, ...view }, lastActiveAtMs: 0 }
}

describe('a heartbeat is kept', () => {
  it('after one that was counted, for the lag', () => {
    const { kept, pass, count } = openKept()
    const beat = beatOf('alice')
    expect(kept.keep(beat)).toBe(false)
    count(beat)
    pass(LAG_MS + 1)
    expect(kept.keep(beat)).toBe(false)
    count(beat)
    pass(LAG_MS)
    expect(kept.keep(beat)).toBe(true)
  })

  it('with what waits already, also later, until that had to be sent', () => {
    const { kept, pass, count } = openKept()
    const beat = beatOf('alice')
    count(beat)
    pass(10)
    for (let ageMs = 10; ageMs <= 2 * LAG_MS; ageMs += 10) {
      expect(kept.keep(beat)).toBe(true)
      pass(10)
    }
    expect(kept.keep(beat)).toBe(false)
  })

  it('not before the one that went to Redis is answered', () => {
    const { kept } = openKept()
    const beat = beatOf('alice')
    kept.asked(beat)
    expect(kept.keep(beat)).toBe(false)
    kept.asked(beat)
    kept.answered(beat, countedAs(beat, {}))
    expect(kept.keep(beat)).toBe(false)
    kept.answered(beat, countedAs(beat, {}))
    expect(kept.keep(beat)).toBe(true)
  })

  it('not after one that failed, found no session, or was no activity', () => {
    for (const answer of [null, { kind: 'late' }, { kind: 'unknown' }] as const) {
      const { kept, count } = openKept()
      const beat = beatOf('alice')
      count(beat)
      kept.asked(beat)
      kept.answered(beat, answer)
      expect(kept.keep(beat)).toBe(false)
    }
    const { kept, count } = openKept()
    count(beatOf('alice', { isActive: false }))
    expect(kept.keep(beatOf('alice'))).toBe(false)
  })

  it('only if it may wait, and only of a socket', () => {
    const { kept, count } = openKept()
    const { mayWait: _, ...asking } = beatOf('alice')
    count(asking)
    expect(kept.keep(asking)).toBe(false)
    expect(kept.keep(beatOf('alice', { fence: null }))).toBe(false)
    expect(kept.keep(beatOf('alice', { fence: 'another' }))).toBe(false)
    expect(kept.keep(beatOf('bob'))).toBe(false)
    expect(kept.keep(beatOf('alice'))).toBe(true)
  })

  it('only if it says what Redis has', () => {
    const profile = { name: 'Alice', avatarUrl: null, issuedAtMs: 1 }
    const { kept, count } = openKept()
    count(beatOf('alice', { profile }), { device: 'phone', rooms: ['a', 'b'] })
    expect(kept.hasProfile(beatOf('alice', { profile }))).toBe(true)
    for (const same of [{}, { device: 'phone' }, { rooms: ['a', 'b'] }, { rooms: ['b', 'a'], device: 'phone' }]) {
      expect(kept.keep(beatOf('alice', { profile, ...same }))).toBe(true)
    }
    for (const other of [{ device: null }, { rooms: ['a'] }, { rooms: ['a', 'c'] }, { rooms: [] }]) {
      expect(kept.keep(beatOf('alice', { profile, ...other }))).toBe(false)
    }
    expect(kept.keep(beatOf('alice', { profile: { ...profile, name: 'Alicia' } }))).toBe(false)
  })

  it('not while the session may have changed', () => {
    const { kept, count } = openKept()
    const [alice, bob] = [beatOf('alice'), beatOf('bob')]
    for (const userId of ['alice', null]) {
      count(alice)
      count(bob)
      kept.doubt(userId)
      expect([kept.keep(alice), kept.keep(bob)]).toEqual([false, userId === 'alice'])
    }
    // What came while the heartbeat was on its way counts as well.
    kept.asked(alice)
    kept.doubt('alice')
    kept.answered(alice, countedAs(alice, {}))
    expect(kept.keep(alice)).toBe(false)
    // Another session of the user may have named this one over HTTP.
    count(alice)
    kept.asked(beatOf('alice', { fence: null, rooms: ['a'] }))
    expect(kept.keep(alice)).toBe(false)
  })

  it('never with a lag of 0', () => {
    const { kept, count } = openKept({ lagMs: 0 })
    count(beatOf('alice'))
    expect(kept.keep(beatOf('alice'))).toBe(false)
    expect(kept.size()).toBe(0)
  })
})

describe('what was kept is sent', () => {
  it('at the end of the lag, with the age of the last activity, and once', () => {
    const { kept, pass, count, sent } = openKept()
    const beat = beatOf('alice')
    count(beat)
    pass(40)
    kept.keep(beat)
    pass(30)
    kept.keep(beat)
    pass(LAG_MS - 31)
    kept.sendDue()
    expect(sent()).toEqual([])
    pass(1)
    kept.sendDue()
    expect(sent()).toEqual([['alice 70 ms ago']])
    kept.sendDue()
    expect(sent()).toEqual([])
    // From then on it counts as what Redis has.
    pass(LAG_MS - 70)
    expect(kept.keep(beatOf('alice', { isActive: false }))).toBe(true)
    pass(1)
    expect(kept.keep(beat)).toBe(false)
  })

  it('in a moment if Redis is behind by more than the lag', () => {
    const { kept, pass, count, sent, urgentCount } = openKept()
    const beat = beatOf('alice')
    count(beat)
    pass(40)
    kept.keep(beat)
    pass(60)
    kept.keep(beat)
    kept.sendDue()
    expect([urgentCount(), sent()]).toEqual([0, []])
    pass(1)
    kept.keep(beat)
    kept.keep(beat)
    expect(urgentCount()).toBe(1)
    pass(20)
    kept.sendDue()
    expect(sent()).toEqual([['alice 20 ms ago']])
    kept.sendDue()
    expect(sent()).toEqual([])
  })

  it('not at all if nothing was active', () => {
    const { kept, pass, count, sent } = openKept()
    count(beatOf('alice'))
    expect(kept.keep(beatOf('alice', { isActive: false }))).toBe(true)
    pass(10 * LAG_MS)
    kept.sendDue()
    expect(sent()).toEqual([])
  })

  it('in batches, the longest waiting first', () => {
    const { kept, pass, count, sent } = openKept({ most: 2 })
    const beats = ['alice', 'bob', 'carol'].map((userId) => beatOf(userId))
    for (const beat of beats) count(beat)
    for (const beat of beats.toReversed()) {
      pass(1)
      kept.keep(beat)
    }
    pass(LAG_MS - 1)
    kept.sendDue()
    expect(sent()).toEqual([[`carol ${LAG_MS + 1} ms ago`, `bob ${LAG_MS} ms ago`]])
    pass(1)
    kept.sendDue()
    expect(sent()).toEqual([[`alice ${LAG_MS} ms ago`]])
  })

  it('before the next call for the user, all sessions of the user and nobody else', () => {
    const { kept, count, sent } = openKept()
    const beats = [beatOf('alice'), beatOf('alice', { sessionId: 'other', fence: 'other' }), beatOf('bob')]
    for (const beat of beats) count(beat)
    for (const beat of beats) kept.keep(beat)
    kept.sendOf('alice')
    expect(sent()).toEqual([['alice 0 ms ago', 'alice 0 ms ago']])
    kept.sendOf('alice')
    kept.sendOf('carol')
    expect(sent()).toEqual([])
  })

  it('not if a later heartbeat went to Redis and was counted', () => {
    const { kept, pass, count, sent } = openKept()
    count(beatOf('alice'))
    kept.keep(beatOf('alice'))
    pass(10)
    count(beatOf('alice', { rooms: ['a'] }), { rooms: ['a'] })
    pass(10 * LAG_MS)
    kept.sendDue()
    expect(sent()).toEqual([])
  })

  it('before a stop, which waits for the answer', async () => {
    const { kept, count, call } = openKept()
    count(beatOf('alice'))
    kept.keep(beatOf('alice'))
    let isDone = false
    const done = kept.sendAll().then(() => {
      isDone = true
    })
    await settled()
    expect(isDone).toBe(false)
    await call().answer([])
    await done
  })

  it('again if Redis did not take it, with its age by then, and until it does', async () => {
    const { kept, pass, count, call, sent } = openKept()
    const beat = beatOf('alice')
    count(beat)
    kept.keep(beat)
    kept.sendOf('alice')
    await call().fail()
    expect(kept.keep(beat)).toBe(false)
    pass(50)
    kept.sendDue()
    await call().fail()
    pass(50)
    kept.sendOf('alice')
    expect(sent()).toEqual([['alice 100 ms ago']])
  })

  it('again if it failed, and then only the later activity', async () => {
    const { kept, pass, count, call, sent } = openKept()
    const beat = beatOf('alice')
    count(beat)
    kept.keep(beat)
    kept.sendOf('alice')
    const first = call()
    pass(10)
    expect(kept.keep(beat)).toBe(true)
    await first.fail()
    pass(5)
    kept.sendDue()
    expect(sent()).toEqual([['alice 5 ms ago']])
  })

  it('no more after the live state was lost', async () => {
    const { kept, pass, count, call, sent } = openKept()
    count(beatOf('alice'))
    kept.keep(beatOf('alice'))
    kept.sendOf('alice')
    const first = call()
    kept.keep(beatOf('alice'))
    kept.clear()
    await first.fail()
    pass(10 * LAG_MS)
    kept.sendDue()
    expect(sent()).toEqual([])
    expect(kept.keep(beatOf('alice'))).toBe(false)
  })
})

describe('what the node knows', () => {
  it('reports a session that moved, and keeps no more for it', async () => {
    const { kept, count, call, lossCount } = openKept()
    const beats = [beatOf('alice'), beatOf('bob')]
    for (const beat of beats) count(beat)
    for (const beat of beats) kept.keep(beat)
    const done = kept.sendAll()
    await call().answer([1])
    await done
    expect(beats.map((beat) => kept.keep(beat))).toEqual([true, false])
    expect([kept.size(), lossCount()]).toEqual([1, 1])
  })

  it('is forgotten after the lag', () => {
    const { kept, pass, count } = openKept()
    for (let number = 0; number < 1000; number += 1) {
      count(beatOf(`user-${number}`))
      pass(1)
      kept.sendDue()
    }
    expect(kept.size()).toBeLessThanOrEqual(LAG_MS)
    pass(2 * LAG_MS)
    kept.sendDue()
    expect(kept.size()).toBe(0)
  })

  it('is forgotten if the session was doubted, and nothing waits', () => {
    const { kept, pass, count } = openKept()
    count(beatOf('alice'))
    kept.keep(beatOf('alice'))
    kept.doubt('alice')
    pass(LAG_MS)
    kept.sendDue()
    expect(kept.size()).toBe(1)
    pass(LAG_MS)
    kept.sendDue()
    expect(kept.size()).toBe(0)
  })
})

describe('the usable lag', () => {
  const timing = (awayAfterMs: number, nodeTtlMs: number) =>
    ({ awayAfterMs, nodeTtlMs }) as Parameters<typeof usableLagMs>[1]

  it('is at most a third of AWAY_AFTER, and leaves room for a node that stands still', () => {
    expect(usableLagMs(100_000, timing(300_000, 10_000))).toBe(100_000)
    expect(usableLagMs(100_000, timing(180_000, 10_000))).toBe(60_000)
    expect(usableLagMs(100_000, timing(20_000, 10_000))).toBe(5000)
    expect(usableLagMs(100_000, timing(5000, 10_000))).toBe(0)
    expect(usableLagMs(1000, timing(300_000, 10_000))).toBe(1000)
    expect(usableLagMs(0, timing(300_000, 10_000))).toBe(0)
  })

  it('sends all activity before Redis could call its user away, however the heartbeats come', () => {
    const [awayAfterMs, nodeTtlMs] = [1000, 100]
    const lagMs = usableLagMs(10_000, timing(awayAfterMs, nodeTtlMs))
    for (const everyMs of [1, 7, 50, 100, 199, 200, 300, 333, 334, 400, 450, 700]) {
      const { kept, pass, count, call, sent } = openKept({ lagMs })
      let [storedAtMs, activeAtMs] = [0, 0]
      for (let nowMs = 0; nowMs < 5000; nowMs += 1) {
        if (nowMs % everyMs === 0) {
          if (kept.size() > 0) expect(activeAtMs - storedAtMs).toBeLessThanOrEqual(lagMs)
          activeAtMs = nowMs
          if (!kept.keep(beatOf('alice'))) {
            count(beatOf('alice'))
            storedAtMs = nowMs
          }
        }
        kept.sendDue()
        for (const [first] of sent()) storedAtMs = nowMs - Number(/ (\d+) ms/.exec(String(first))?.[1])
        // As long as a node may stand still, the activity that Redis has is young enough.
        if (activeAtMs + awayAfterMs > nowMs + nodeTtlMs)
          expect(storedAtMs + awayAfterMs).toBeGreaterThan(nowMs + nodeTtlMs)
        pass(1)
      }
      expect(call).toThrow()
    }
  })
})
