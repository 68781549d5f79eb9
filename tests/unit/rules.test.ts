import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Profile, Settings } from '../../src/presence/model.ts'
import {
  detachCauseOf,
  endReasonOf,
  graceMs,
  hasSamePublicFields,
  isOnline,
  isVisible,
  lastSeenAfterLeaving,
  newerProfile,
  newerSettings,
  nextFlipSteadyMs,
  publicUser,
  shownMomentsAfter,
  statusOf,
  type UserFacts,
} from '../../src/presence/rules.ts'
import { createStepWatch, isLate, type PresenceTiming, processClock } from '../../src/presence/timing.ts'

const TIMING = {
  closeGraceMs: 5000,
  reconnectGraceMs: 15_000,
  awayAfterMs: 300_000,
  idleTimeoutMs: 1_800_000,
} as PresenceTiming

const SETTINGS: Settings = {
  version: 1,
  statusChoice: 'AUTOMATIC',
  statusMessage: null,
  visibility: 'EVERYONE',
  hideLastActive: false,
}
const ACTIVE_AT_MS = 1_000_000
const AWAY_AT_MS = ACTIVE_AT_MS + TIMING.awayAfterMs
const IDLE_AT_MS = ACTIVE_AT_MS + TIMING.idleTimeoutMs

const ALICE: UserFacts = {
  id: 'alice',
  profile: null,
  settings: SETTINGS,
  hasLiveSession: true,
  lastActiveSteadyMs: ACTIVE_AT_MS,
  isActivityOver: false,
}

function choosing(settings: Partial<Settings>): UserFacts {
  return { ...ALICE, settings: { ...SETTINGS, ...settings } }
}

describe('a user is online', () => {
  it('with a live session and activity within IDLE_TIMEOUT', () => {
    expect(isOnline(ALICE, ACTIVE_AT_MS, TIMING)).toBe(true)
    expect(isOnline(ALICE, IDLE_AT_MS - 1, TIMING)).toBe(true)
  })

  it('no more at the deadline itself', () => {
    expect(isOnline(ALICE, IDLE_AT_MS, TIMING)).toBe(false)
  })

  it('never without a live session, without any activity, or with activity that is over', () => {
    expect(isOnline({ ...ALICE, hasLiveSession: false }, ACTIVE_AT_MS, TIMING)).toBe(false)
    expect(isOnline({ ...ALICE, lastActiveSteadyMs: null }, ACTIVE_AT_MS, TIMING)).toBe(false)
    expect(isOnline({ ...ALICE, isActivityOver: true }, ACTIVE_AT_MS, TIMING)).toBe(false)
  })

  it('whether hidden or not known yet: that is what others see', () => {
    expect(isOnline(choosing({ visibility: 'NOBODY' }), ACTIVE_AT_MS, TIMING)).toBe(true)
    expect(isOnline({ ...ALICE, settings: null }, ACTIVE_AT_MS, TIMING)).toBe(true)
  })
})

describe('the status', () => {
  it('is ONLINE, then AWAY at the deadline itself, then OFFLINE', () => {
    expect(statusOf(ALICE, AWAY_AT_MS - 1, TIMING)).toBe('ONLINE')
    expect(statusOf(ALICE, AWAY_AT_MS, TIMING)).toBe('AWAY')
    expect(statusOf(ALICE, IDLE_AT_MS - 1, TIMING)).toBe('AWAY')
    expect(statusOf(ALICE, IDLE_AT_MS, TIMING)).toBe('OFFLINE')
  })

  it('is what the user chose, until they are offline', () => {
    for (const statusChoice of ['AWAY', 'BUSY'] as const) {
      const user = choosing({ statusChoice })
      expect(statusOf(user, ACTIVE_AT_MS, TIMING)).toBe(statusChoice)
      expect(statusOf(user, IDLE_AT_MS - 1, TIMING)).toBe(statusChoice)
      expect(statusOf(user, IDLE_AT_MS, TIMING)).toBe('OFFLINE')
      expect(statusOf({ ...user, hasLiveSession: false }, ACTIVE_AT_MS, TIMING)).toBe('OFFLINE')
    }
  })

  it('is automatic while the choice is not known', () => {
    expect(statusOf({ ...ALICE, settings: null }, AWAY_AT_MS, TIMING)).toBe('AWAY')
  })
})

describe('the next flip', () => {
  it('is away first, and then idle', () => {
    expect(nextFlipSteadyMs(ALICE, ACTIVE_AT_MS, TIMING)).toBe(AWAY_AT_MS)
    expect(nextFlipSteadyMs(ALICE, AWAY_AT_MS - 1, TIMING)).toBe(AWAY_AT_MS)
    expect(nextFlipSteadyMs(ALICE, AWAY_AT_MS, TIMING)).toBe(IDLE_AT_MS)
  })

  it('is idle alone for who chose a status', () => {
    expect(nextFlipSteadyMs(choosing({ statusChoice: 'BUSY' }), ACTIVE_AT_MS, TIMING)).toBe(IDLE_AT_MS)
  })

  it('is none for who is offline', () => {
    expect(nextFlipSteadyMs(ALICE, IDLE_AT_MS, TIMING)).toBeNull()
    expect(nextFlipSteadyMs({ ...ALICE, hasLiveSession: false }, ACTIVE_AT_MS, TIMING)).toBeNull()
    expect(nextFlipSteadyMs({ ...ALICE, lastActiveSteadyMs: null }, ACTIVE_AT_MS, TIMING)).toBeNull()
  })

  it('is where the status flips, and nowhere before', () => {
    for (const user of [ALICE, choosing({ statusChoice: 'AWAY' })]) {
      for (let nowMs = ACTIVE_AT_MS; ; ) {
        const flipAtMs = nextFlipSteadyMs(user, nowMs, TIMING)
        if (flipAtMs === null) break
        expect(flipAtMs).toBeGreaterThan(nowMs)
        expect(statusOf(user, flipAtMs - 1, TIMING)).toBe(statusOf(user, nowMs, TIMING))
        expect(statusOf(user, flipAtMs, TIMING)).not.toBe(statusOf(user, nowMs, TIMING))
        nowMs = flipAtMs
      }
    }
  })
})

describe('how a socket was lost', () => {
  const BY_CLIENT = { isClosedByUs: false, isSilent: false }
  const BY_US = { isClosedByUs: true, isSilent: false }
  const FOUND_SILENT = { isClosedByUs: false, isSilent: true }
  const CLOSED_AND_SILENT = { isClosedByUs: true, isSilent: true }

  it.each([
    ['a page that is left', 1001, BY_CLIENT, 'closed'],
    ['a client that is done', 1000, BY_CLIENT, 'closed'],
    ['a client that gives no code', 1005, BY_CLIENT, 'closed'],
    ['no close frame', 1006, BY_CLIENT, 'ended'],
    ['a client that found us breaking the protocol', 1002, BY_CLIENT, 'ended'],
    ['a client that failed inside', 1011, BY_CLIENT, 'ended'],
    ['a client that goes and comes back', 1012, BY_CLIENT, 'ended'],
    ['graphql-ws: an unanswered ping', 4499, BY_CLIENT, 'ended'],
    ['graphql-ws: an unanswered ping, its own example', 4408, BY_CLIENT, 'ended'],
    ['graphql-ws: no acknowledgement', 4504, BY_CLIENT, 'ended'],
    ['graphql-ws: it failed inside', 4005, BY_CLIENT, 'ended'],
    ['an app', 3000, BY_CLIENT, 'ended'],
    ['an app', 4999, BY_CLIENT, 'ended'],
    ['our restart, answered with its code', 1012, BY_US, 'ended'],
    ['our restart, answered with another', 1000, BY_US, 'ended'],
    ['our restart, answered without a code', 1005, BY_US, 'ended'],
    ['our refusal, answered with its code', 4403, BY_US, 'ended'],
    ['our close, answered with the end of the connection', 1006, BY_US, 'ended'],
    ['our close, not answered', 1006, CLOSED_AND_SILENT, 'silent'],
    ['a ping that was not answered', 1006, FOUND_SILENT, 'silent'],
    ['a close, and a connection that never ended', 1001, FOUND_SILENT, 'closed'],
    ['a loss that its client saw first, and a connection that never ended', 4499, FOUND_SILENT, 'ended'],
  ] as const)('is told by the close: %s, %i', (_what, code, how, cause) => {
    expect(detachCauseOf(code, how)).toBe(cause)
  })
})

describe('the grace', () => {
  it('depends on the cause, and the silence counts for who was silent only', () => {
    expect(graceMs('closed', 9000, TIMING)).toBe(5000)
    expect(graceMs('ended', 9000, TIMING)).toBe(15_000)
    expect(graceMs('silent', 9000, TIMING)).toBe(6000)
  })

  it('is over at once where the silence was as long', () => {
    expect(graceMs('silent', 15_000, TIMING)).toBeLessThanOrEqual(0)
    expect(graceMs('silent', 40_000, TIMING)).toBeLessThanOrEqual(0)
    expect(graceMs('closed', 0, { ...TIMING, closeGraceMs: 0 })).toBeLessThanOrEqual(0)
  })

  it('ends for a reason', () => {
    expect([endReasonOf('closed'), endReasonOf('ended'), endReasonOf('silent')]).toEqual(['CLOSED', 'LOST', 'LOST'])
  })
})

describe('a profile', () => {
  const current: Profile = { name: 'Alice', avatarUrl: 'https://pictures.test/1.png', issuedAtMs: 10 }

  it('gives way to a newer one, part by part', () => {
    const newer = { name: 'Alice Liddell', avatarUrl: 'https://pictures.test/2.png', issuedAtMs: 11 }
    expect(newerProfile(current, newer)).toEqual(newer)
    expect(newerProfile(current, { ...newer, name: null })).toEqual({ ...newer, name: 'Alice' })
    expect(newerProfile(current, { ...newer, avatarUrl: null })).toEqual({ ...newer, avatarUrl: current.avatarUrl })
  })

  it('stays the very same where the other is older, as old, empty or none', () => {
    expect(newerProfile(current, { name: 'Old', avatarUrl: null, issuedAtMs: 9 })).toBe(current)
    expect(newerProfile(current, { name: 'Same', avatarUrl: null, issuedAtMs: 10 })).toBe(current)
    expect(newerProfile(current, { name: null, avatarUrl: null, issuedAtMs: 99 })).toBe(current)
    expect(newerProfile(current, null)).toBe(current)
  })

  it('begins with whatever names something', () => {
    expect(newerProfile(null, current)).toBe(current)
    expect(newerProfile(null, null)).toBeNull()
    expect(newerProfile(null, { name: null, avatarUrl: null, issuedAtMs: 1 })).toBeNull()
  })
})

describe('what everyone sees', () => {
  const facts = {
    ...choosing({ statusChoice: 'BUSY', statusMessage: 'in court' }),
    profile: { name: 'Alice', avatarUrl: 'https://pictures.test/1.png', issuedAtMs: 1 },
    shownSinceMs: 700_000,
    shownLastActiveAtMs: 900_000,
    shownLastSeenAtMs: 950_000,
  }

  it('is the whole of who is online and visible', () => {
    expect(publicUser(facts, ACTIVE_AT_MS, TIMING)).toEqual({
      id: 'alice',
      name: 'Alice',
      avatarUrl: 'https://pictures.test/1.png',
      isOnline: true,
      status: 'BUSY',
      statusMessage: 'in court',
      onlineSinceMs: 700_000,
      lastActiveAtMs: 900_000,
      lastSeenAtMs: null,
    })
  })

  it('is the same of who hides, who is not known yet, and who is offline', () => {
    const offline = publicUser({ ...facts, hasLiveSession: false }, ACTIVE_AT_MS, TIMING)
    expect(offline).toMatchObject({ isOnline: false, status: 'OFFLINE', statusMessage: null, onlineSinceMs: null })
    expect(offline).toMatchObject({ lastActiveAtMs: 900_000, lastSeenAtMs: 950_000 })
    const hidden = { ...facts, settings: { ...SETTINGS, visibility: 'NOBODY' } as const }
    expect(publicUser(hidden, ACTIVE_AT_MS, TIMING)).toEqual(offline)
    expect(publicUser({ ...facts, settings: null }, ACTIVE_AT_MS, TIMING)).toEqual(offline)
  })

  it('shows no activity of who hides it, and the rest all the same', () => {
    const settings = { ...SETTINGS, hideLastActive: true }
    expect(publicUser({ ...facts, settings }, ACTIVE_AT_MS, TIMING)).toMatchObject({
      isOnline: true,
      onlineSinceMs: 700_000,
      lastActiveAtMs: null,
    })
    expect(publicUser({ ...facts, settings, hasLiveSession: false }, ACTIVE_AT_MS, TIMING)).toMatchObject({
      isOnline: false,
      lastActiveAtMs: null,
      lastSeenAtMs: null,
    })
  })

  it('shows of who hides what everyone saw last, whatever they choose about it then', () => {
    const hidden = { ...SETTINGS, visibility: 'NOBODY' } as const
    const chosen = { ...hidden, hideLastActive: true }
    expect(publicUser({ ...facts, settings: chosen }, ACTIVE_AT_MS, TIMING)).toEqual(
      publicUser({ ...facts, settings: hidden }, ACTIVE_AT_MS, TIMING),
    )
    // With the step into hiding it is what everyone sees.
    const shown = { shownLastActiveAtMs: 5, shownLastSeenAtMs: 6 }
    expect(shownMomentsAfter(shown, SETTINGS, chosen)).toEqual({ shownLastActiveAtMs: null, shownLastSeenAtMs: null })
    expect(shownMomentsAfter(shown, SETTINGS, hidden)).toBe(shown)
    expect(shownMomentsAfter(shown, hidden, chosen)).toBe(shown)
    expect(shownMomentsAfter(shown, chosen, SETTINGS)).toBe(shown)
    expect(shownMomentsAfter(shown, null, chosen)).toBe(shown)
  })

  it('dates who left by their LEAVE, and who left unseen by what is known last', () => {
    const leaving = { shownSinceMs: 5, shownLastActiveAtMs: 7, shownLastSeenAtMs: null }
    expect(lastSeenAfterLeaving(leaving, 9)).toBe(9)
    expect(lastSeenAfterLeaving(leaving, null)).toBe(7)
    expect(lastSeenAfterLeaving({ ...leaving, shownLastSeenAtMs: 8 }, null)).toBe(8)
    // Of an earlier time online.
    expect(lastSeenAfterLeaving({ ...leaving, shownLastSeenAtMs: 4 }, null)).toBe(7)
    // Hidden together with the last activity.
    for (const leaveAtMs of [9, null]) {
      expect(lastSeenAfterLeaving({ ...leaving, shownLastActiveAtMs: null }, leaveAtMs)).toBeNull()
    }
  })

  it('shows the id of who never had a name', () => {
    const { name, avatarUrl } = publicUser({ ...facts, profile: null }, ACTIVE_AT_MS, TIMING)
    expect([name, avatarUrl]).toEqual(['alice', null])
    const onlyPicture = { name: null, avatarUrl: 'https://pictures.test/1.png', issuedAtMs: 1 }
    expect(publicUser({ ...facts, profile: onlyPicture }, ACTIVE_AT_MS, TIMING).name).toBe('alice')
  })

  it('changed where any field but lastActive and lastSeen did', () => {
    const shown = publicUser(facts, ACTIVE_AT_MS, TIMING)
    expect(hasSamePublicFields(shown, { ...shown, lastActiveAtMs: 1, lastSeenAtMs: 2 })).toBe(true)
    const others = {
      name: 'Bob',
      avatarUrl: null,
      isOnline: false,
      status: 'AWAY',
      statusMessage: 'out',
      onlineSinceMs: 1,
    } as const
    for (const [field, value] of Object.entries(others)) {
      expect([field, hasSamePublicFields(shown, { ...shown, [field]: value })]).toEqual([field, false])
    }
  })

  it('is seen by everyone or by nobody', () => {
    expect([isVisible(SETTINGS), isVisible({ ...SETTINGS, visibility: 'NOBODY' }), isVisible(null)]).toEqual([
      true,
      false,
      false,
    ])
  })
})

describe('a check that comes late', () => {
  it('is one that missed its turn twice, and half a second', () => {
    expect(isLate(2500, 1000)).toBe(false)
    expect(isLate(2501, 1000)).toBe(true)
    expect(isLate(600, 50)).toBe(false)
    expect(isLate(601, 50)).toBe(true)
  })
})

describe('the clocks of the process', () => {
  it('tell whole milliseconds: of today by the wall, and by the steady one never back', () => {
    const clock = processClock()
    let last = clock()
    for (let count = 0; count < 1000; count += 1) {
      const now = clock()
      expect([Number.isInteger(now.steadyMs), Number.isInteger(now.wallMs)]).toEqual([true, true])
      expect(now.steadyMs).toBeGreaterThanOrEqual(last.steadyMs)
      last = now
    }
    expect(Math.abs(last.wallMs - Date.now())).toBeLessThan(1000)
  })

  it('a step of the host moves the wall clock alone', () => {
    const clock = processClock()
    const before = clock()
    const { now } = Date
    try {
      Date.now = () => now() - 3_600_000
      const after = clock()
      expect(after.wallMs - before.wallMs).toBeLessThan(-3_599_000)
      expect(after.steadyMs - before.steadyMs).toBeLessThan(1000)
      expect(after.steadyMs).toBeGreaterThanOrEqual(before.steadyMs)
    } finally {
      Date.now = now
    }
  })

  it('a step is told once, with its size; what a time service slews is none', () => {
    let now = { steadyMs: 5000, wallMs: 1_000_000 }
    const move = (steadyMs: number, stepMs = 0) => {
      now = { steadyMs: now.steadyMs + steadyMs, wallMs: now.wallMs + steadyMs + stepMs }
    }
    const stepMs = createStepWatch(() => now)
    expect(stepMs()).toBe(0)
    move(1000, 3_600_000)
    expect([stepMs(), stepMs()]).toEqual([3_600_000, 0])
    move(1000, -1000)
    expect([stepMs(), stepMs()]).toEqual([-1000, 0])
    // Ten hours at 0.5 ms a second, and not one word.
    for (let second = 0; second < 36_000; second += 1) {
      move(1000, second % 2)
      expect(stepMs()).toBe(0)
    }
  })
})

describe('settings that meet others of the same user', () => {
  const settings: fc.Arbitrary<Settings> = fc.record({
    version: fc.integer({ min: 1, max: 3 }),
    statusChoice: fc.constantFrom('AUTOMATIC', 'AWAY', 'BUSY'),
    statusMessage: fc.constantFrom(null, 'here', 'there'),
    visibility: fc.constantFrom('EVERYONE', 'NOBODY'),
    hideLastActive: fc.boolean(),
  })

  it('give way to a higher version, whatever it says, and stay before a lower one', () => {
    fc.assert(
      fc.property(settings, settings, (one, other) => {
        fc.pre(one.version !== other.version)
        const higher = one.version > other.version ? one : other
        expect(newerSettings(one, other)).toBe(higher)
        expect(newerSettings(other, one)).toBe(higher)
      }),
    )
  })

  it('show under the same version nothing that one of them hides, in whatever order and however often they meet', () => {
    fc.assert(
      fc.property(settings, settings, (one, other) => {
        const both = { ...other, version: one.version }
        for (const met of [newerSettings(one, both), newerSettings(both, one)]) {
          expect(met?.version).toBe(one.version)
          expect(met?.visibility).toBe([one.visibility, other.visibility].includes('NOBODY') ? 'NOBODY' : 'EVERYONE')
          expect(met?.hideLastActive).toBe(one.hideLastActive || other.hideLastActive)
          if (one.statusMessage === null || other.statusMessage === null) expect(met?.statusMessage).toBeNull()
          else expect([one.statusMessage, other.statusMessage]).toContain(met?.statusMessage)
          expect(newerSettings(met, one)).toBe(met)
          expect(newerSettings(met, both)).toBe(met)
        }
      }),
    )
  })

  it('are the others where there were none, and stay where none come', () => {
    expect(newerSettings(null, SETTINGS)).toBe(SETTINGS)
    expect(newerSettings(SETTINGS, null)).toBe(SETTINGS)
    expect(newerSettings(null, null)).toBeNull()
  })
})
