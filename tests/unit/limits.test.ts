/** What bounds a caller: buckets of work, addresses, turns of expensive operations, handshakes. */
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { unauthenticated, unavailable } from '../../src/presence/errors.ts'
import type { TakenWork } from '../../src/presence/store.ts'
import { createAddresses } from '../../src/server/limits/addresses.ts'
import { createAdmission } from '../../src/server/limits/admission.ts'
import { Bucket, createBudgets } from '../../src/server/limits/budgets.ts'
import { createFairTurns } from '../../src/server/limits/fair-turns.ts'
import { createHandshakes } from '../../src/server/limits/handshakes.ts'
import { addressPayer, createLimits, payerOf, UNITS } from '../../src/server/limits/limits.ts'

describe('a bucket', () => {
  it('gives its burst at once, and then what flows back', () => {
    const bucket = new Bucket({ burst: 100, perSecond: 10 })
    expect(bucket.take(60, 0)).toBe(0)
    expect(bucket.take(40, 0)).toBe(0)
    expect(bucket.take(10, 0)).toBe(1000)
    expect(bucket.take(10, 999)).toBe(1)
    expect(bucket.take(10, 1000)).toBe(0)
  })

  it('takes nothing where it refuses', () => {
    const bucket = new Bucket({ burst: 100, perSecond: 10 })
    bucket.take(90, 0)
    expect(bucket.take(20, 0)).toBe(1000)
    expect(bucket.take(10, 0)).toBe(0)
  })

  it('gives all that it holds for work that costs more', () => {
    const bucket = new Bucket({ burst: 100, perSecond: 10 })
    expect(bucket.take(1000, 0)).toBe(0)
    expect(bucket.take(1, 0)).toBe(100)
  })

  it('owes what was spent, and never more than it holds', () => {
    const bucket = new Bucket({ burst: 100, perSecond: 10 })
    bucket.spend(150, 0)
    expect(bucket.take(0, 0)).toBe(5000)
    bucket.spend(1_000_000, 0)
    expect(bucket.take(0, 0)).toBe(10_000)
  })

  it('never gives more within any span than its burst and what flowed back', () => {
    const step = fc.record({ units: fc.integer({ min: 1, max: 80 }), afterMs: fc.integer({ min: 0, max: 3000 }) })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const bucket = new Bucket({ burst: 100, perSecond: 10 })
        const given: { atMs: number; units: number }[] = []
        let nowMs = 0
        for (const { units, afterMs } of steps) {
          nowMs += afterMs
          const waitMs = bucket.take(units, nowMs)
          if (waitMs === 0) given.push({ atMs: nowMs, units })
        }
        for (let from = 0; from < given.length; from += 1) {
          let sum = 0
          for (const { atMs, units } of given.slice(from)) {
            sum += units
            expect(sum).toBeLessThanOrEqual(100 + ((atMs - Number(given[from]?.atMs)) * 10) / 1000 + 1e-6)
          }
        }
      }),
      { seed: 14, numRuns: 500 },
    )
  })

  it('gives again after the wait that it says', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 100 }), fc.integer({ min: 1, max: 100 }), (first, second) => {
        const bucket = new Bucket({ burst: 100, perSecond: 7 })
        bucket.take(first, 0)
        const waitMs = bucket.take(second, 0)
        if (waitMs > 0) expect(bucket.take(second, waitMs)).toBe(0)
      }),
      { seed: 14, numRuns: 500 },
    )
  })
})

describe('budgets', () => {
  it('are one for each key, and forgotten when they are full again', () => {
    let nowMs = 0
    const budgets = createBudgets({ burst: 100, perSecond: 10 }, () => nowMs)
    expect(budgets.take('alice', 100)).toBe(0)
    expect(budgets.take('bob', 10)).toBe(0)
    expect(budgets.take('alice', 1)).toBeGreaterThan(0)
    nowMs = 1000
    budgets.forgetFull()
    expect(budgets.size()).toBe(1)
    nowMs = 10_000
    budgets.forgetFull()
    expect(budgets.size()).toBe(0)
  })
})

describe('budgets of two processes', () => {
  it('count again what could not be told, and nothing that was given back after it was forgotten', async () => {
    let nowMs = 0
    const budgets = createBudgets({ burst: 1000, perSecond: 1000 }, () => nowMs)
    budgets.take('alice', 600)
    await expect(budgets.share(() => Promise.reject(new Error('Away.')))).rejects.toThrow('Away.')
    const told: TakenWork[] = []
    const exchange = async (taken: readonly TakenWork[]) => {
      told.push(...taken)
      return taken.map(() => 0)
    }
    await budgets.share(exchange)
    expect(told).toEqual([{ key: 'alice', refillMs: 600, burstMs: 1000 }])
    nowMs = 10_000
    budgets.forgetFull()
    budgets.give('alice', 100)
    budgets.take('alice', 149)
    await budgets.share(exchange)
    expect(told.slice(1)).toEqual([{ key: 'alice', refillMs: 149, burstMs: 1000 }])
  })

  it('bound a caller together, and exchange only what is worth a message', async () => {
    let nowMs = 0
    const rate = { burst: 1000, perSecond: 10 }
    const here = createBudgets(rate, () => nowMs)
    const there = createBudgets(rate, () => nowMs)
    /** What Redis does: one bucket for all. */
    const fullAtMs = new Map<string, number>()
    const exchanged: string[] = []
    const exchange = async (taken: readonly TakenWork[]) =>
      taken.map(({ key, refillMs }) => {
        exchanged.push(key)
        const atMs = Math.max(fullAtMs.get(key) ?? 0, nowMs) + refillMs
        fullAtMs.set(key, atMs)
        return atMs - nowMs
      })
    here.take('bob', 10)
    here.take('alice', 600)
    await here.share(exchange)
    expect(exchanged).toEqual(['alice'])
    expect(there.take('alice', 300)).toBe(0)
    await there.share(exchange)
    expect(there.take('alice', 200)).toBe(10_000)
    expect(here.take('alice', 100)).toBe(0)
    await here.share(exchange)
    expect(here.take('alice', 1)).toBeGreaterThan(0)
    nowMs = 50_000
    expect(there.take('alice', 400)).toBe(0)
  })
})

describe('an address', () => {
  const untrusted: string[] = []
  const addresses = createAddresses(['10.0.0.0/8', '2001:db8:f::1'], (peer) => untrusted.push(peer))

  it.each([
    ['is that of the connection', '192.0.2.7', null, '192.0.2.7'],
    ['is the IPv4 address of a socket for both families', '::ffff:192.0.2.7', null, '192.0.2.7'],
    ['of IPv6 is its first 64 bits', '2001:db8:1:2:3:4:5:6', null, '2001:db8:1:2::/64'],
    ['of IPv6 is the same however it is written', '2001:0DB8:1::6', null, '2001:db8:1:0::/64'],
    ['is unknown where the server does not say', null, '192.0.2.1', 'unknown'],
    ['is the one that a trusted proxy saw', '10.1.2.3', '192.0.2.7', '192.0.2.7'],
    ['is the last one that is no proxy', '10.1.2.3', '198.51.100.1, 192.0.2.7, 10.9.9.9', '192.0.2.7'],
    ['may have a port', '10.1.2.3', '192.0.2.7:4711', '192.0.2.7'],
    ['of IPv6 may have brackets and a port', '10.1.2.3', '[2001:db8:1:2::1]:4711', '2001:db8:1:2::/64'],
    ['is the trusted proxy itself where it says nothing that is one', '10.1.2.3', 'unknown', '10.1.2.3'],
    ['is the first proxy where all are trusted', '10.1.2.3', '10.2.2.2, 2001:db8:f::1', '10.2.2.2'],
  ])('%s', (_what, peer, forwardedFor, expected) => {
    expect(addresses.of(peer, forwardedFor)).toEqual({ address: expected, isShared: peer === null })
    expect(untrusted).toEqual([])
  })

  it('is never what a peer that is not trusted says, which is reported once', () => {
    expect(addresses.of('192.0.2.9', '198.51.100.1')).toEqual({ address: '192.0.2.9', isShared: false })
    expect(addresses.of('192.0.2.8', '198.51.100.1')).toEqual({ address: '192.0.2.8', isShared: false })
    expect(untrusted).toEqual(['192.0.2.9'])
  })
})

describe('an address of a private network', () => {
  it.each(['127.0.0.1', '172.16.0.9', '192.168.1.1', '::1', 'fd00::1', '::ffff:192.168.1.1'])(
    'that sends X-Forwarded-For and is not named is shared by many: %s',
    (peer) => {
      const addresses = createAddresses(['10.0.0.0/8'], () => {})
      expect(addresses.of(peer, '198.51.100.1').isShared).toBe(true)
      expect(addresses.of(peer, null).isShared).toBe(false)
    },
  )
})

describe('admission', () => {
  const at = (address: string) => ({ address, isShared: false })

  const config = {
    USER_WORK_RATE: 10,
    USER_WORK_BURST: 1000,
    ADDRESS_WORK_RATE: 100,
    ADDRESS_WORK_BURST: 600,
    SOCKET_FRAME_RATE: 10,
    SUBSCRIPTIONS_PER_USER: 2,
  }

  it('lets an address send so many bad tokens, and good ones without end', async () => {
    let nowMs = 0
    const limits = createLimits(config, () => nowMs)
    const token = (authorization: string) => {
      return { authorization, connectionParams: null, req: null, toRequest: () => new Request('http://localhost') }
    }
    const admission = createAdmission(
      {
        mayHave: () => true,
        readsRequests: false,
        async authenticate({ authorization }) {
          if (authorization === 'bad') throw unauthenticated('No.')
          if (authorization === 'away') throw unavailable('server', 'Not now.')
          return null
        },
      },
      limits,
    )
    for (let count = 0; count < 100; count += 1) await admission.authenticate(token('good'), at('192.0.2.1'))
    for (let count = 0; count < 100; count += 1) {
      await expect(admission.authenticate(token('away'), at('192.0.2.1'))).rejects.toMatchObject({
        code: 'UNAVAILABLE',
      })
    }
    for (let count = 0; count < 3; count += 1) {
      await expect(admission.authenticate(token('bad'), at('192.0.2.1'))).rejects.toMatchObject({
        code: 'UNAUTHENTICATED',
      })
    }
    await expect(admission.authenticate(token('good'), at('192.0.2.1'))).rejects.toMatchObject({
      code: 'RATE_LIMITED',
      details: { retryAfterMs: 1500 },
    })
    expect(await admission.authenticate(token('good'), at('192.0.2.2'))).toBeNull()
    nowMs = 1500
    expect(await admission.authenticate(token('good'), at('192.0.2.1'))).toBeNull()
  })

  it('has users pay for themselves wherever they are, and the operator for nothing', () => {
    const limits = createLimits(config, () => 0)
    const alice = { userId: 'alice', role: 'member' } as const
    limits.charge(payerOf(alice, at('192.0.2.1')), 1000)
    expect(() => limits.charge(payerOf(alice, at('192.0.2.2')), UNITS.operation)).toThrow(
      'This user asked for more work',
    )
    limits.charge(payerOf({ ...alice, userId: 'bob' }, at('192.0.2.1')), 1000)
    for (let count = 0; count < 10; count += 1)
      limits.charge(payerOf({ userId: 'shop', role: 'service' }, at('')), 1000)
    limits.charge(addressPayer(at('192.0.2.1')), 600)
    expect(() => limits.charge(addressPayer(at('192.0.2.1')), 1)).toThrow('from this address')
  })
})

describe('subscriptions', () => {
  it('of a user are bounded, and counted out once', () => {
    const config = { USER_WORK_RATE: 10, USER_WORK_BURST: 1000, ADDRESS_WORK_RATE: 100, ADDRESS_WORK_BURST: 600 }
    const limits = createLimits({ ...config, SOCKET_FRAME_RATE: 10, SUBSCRIPTIONS_PER_USER: 2 }, () => 0)
    const alice = { userId: 'alice', address: '', isFree: false }
    const close = limits.openSubscription(alice)
    limits.openSubscription(alice)
    expect(() => limits.openSubscription(alice)).toThrow('2 subscriptions open at once')
    limits.openSubscription({ ...alice, userId: 'bob' })
    close()
    close()
    limits.openSubscription(alice)
    expect(() => limits.openSubscription(alice)).toThrow('2 subscriptions open at once')
  })
})

/** A clock by which each piece of work takes a whole slice. */
function steps(): () => number {
  let nowMs = 0
  return () => {
    nowMs += 10
    return nowMs
  }
}

describe('expensive operations', () => {
  it('of one user come one after the other, and users take turns', async () => {
    const turns = createFairTurns({ monotonicMs: steps(), atOnce: 1 })
    const done: string[] = []
    const atWork = { alice: 0, bob: 0 }
    async function work(user: 'alice' | 'bob', name: string) {
      atWork[user] += 1
      expect(atWork[user]).toBe(1)
      await new Promise((resolve) => setImmediate(resolve))
      atWork[user] -= 1
      done.push(name)
    }
    const all = ['a1', 'a2', 'a3'].map((name) => turns.run('alice', () => work('alice', name)))
    all.push(turns.run('bob', () => work('bob', 'b1')))
    expect(turns.waitingCount()).toBe(4)
    await Promise.all(all)
    expect(done.indexOf('b1')).toBeLessThan(2)
    expect(done.filter((name) => name.startsWith('a'))).toEqual(['a1', 'a2', 'a3'])
    expect(turns.waitingCount()).toBe(0)
  })

  it('leave a turn of the event loop to others between any two', async () => {
    const turns = createFairTurns({ monotonicMs: steps(), atOnce: 1 })
    const order: string[] = []
    const all = ['1', '2', '3'].map((name) =>
      turns.run(name, async () => {
        order.push(`begin ${name}`)
        setImmediate(() => order.push(`others after ${name}`))
      }),
    )
    await Promise.all(all)
    await new Promise((resolve) => setImmediate(resolve))
    expect(order).toEqual(['begin 1', 'others after 1', 'begin 2', 'others after 2', 'begin 3', 'others after 3'])
  })

  it('begin together as long as a slice lasts', async () => {
    const turns = createFairTurns({ monotonicMs: () => 0 })
    const order: string[] = []
    const all = ['1', '2', '3'].map((name) =>
      turns.run('alice', async () => {
        order.push(name)
        setImmediate(() => order.push(`others after ${name}`))
      }),
    )
    await Promise.all(all)
    expect(order.slice(0, 3)).toEqual(['1', '2', '3'])
  })

  it('are as many at a time as one caller may have', async () => {
    const turns = createFairTurns({ monotonicMs: steps(), atOnce: 2 })
    let atWork = 0
    let most = 0
    const work = async () => {
      atWork += 1
      most = Math.max(most, atWork)
      await new Promise((resolve) => setTimeout(resolve, 1))
      atWork -= 1
    }
    await Promise.all(Array.from({ length: 7 }, () => turns.run('alice', work)))
    expect(most).toBe(2)
    expect(turns.waitingCount()).toBe(0)
  })

  it('that fail do not stop those behind them', async () => {
    const turns = createFairTurns({ monotonicMs: steps(), atOnce: 1 })
    const failed = turns.run('alice', () => Promise.reject(new Error('No.')))
    const after = turns.run('alice', async () => 'done')
    await expect(failed).rejects.toThrow('No.')
    expect(await after).toBe('done')
  })
})

describe('handshakes', () => {
  function door(bounds: { perAddress: number; perNode: number }) {
    let nowMs = 0
    const handshakes = createHandshakes({ ...bounds, waitMs: 1000 }, () => nowMs)
    const begun: string[] = []
    const refused: string[] = []
    const leaves = new Map<string, () => void>()
    return {
      handshakes,
      begun,
      refused,
      leaves,
      pass(ms: number) {
        nowMs += ms
      },
      enter(address: string, name: string) {
        handshakes.enter(
          address,
          (leave) => {
            begun.push(name)
            leaves.set(name, leave)
          },
          () => refused.push(name),
        )
      },
    }
  }

  it('wait for their turn, and addresses take turns', () => {
    const { enter, begun, leaves, handshakes } = door({ perAddress: 10, perNode: 2 })
    for (const name of ['a1', 'a2', 'a3', 'a4']) enter('a', name)
    for (const name of ['b1', 'b2']) enter('b', name)
    expect(begun).toEqual(['a1', 'a2'])
    expect(handshakes.waitingCount()).toBe(4)
    leaves.get('a1')?.()
    leaves.get('a1')?.()
    leaves.get('a2')?.()
    expect(begun).toEqual(['a1', 'a2', 'a3', 'b1'])
    leaves.get('b1')?.()
    leaves.get('a3')?.()
    expect(begun).toEqual(['a1', 'a2', 'a3', 'b1', 'a4', 'b2'])
    for (const leave of leaves.values()) leave()
    expect([handshakes.count(), handshakes.waitingCount()]).toEqual([0, 0])
  })

  it('of one address leave room for others', () => {
    const { enter, begun } = door({ perAddress: 2, perNode: 10 })
    for (const name of ['a1', 'a2', 'a3']) enter('a', name)
    enter('b', 'b1')
    expect(begun).toEqual(['a1', 'a2', 'b1'])
  })

  it('are refused where too many wait, and where they have waited for too long', () => {
    const { enter, begun, refused, handshakes, pass } = door({ perAddress: 1, perNode: 10 })
    for (let index = 0; index < 12; index += 1) enter('a', `a${index}`)
    expect(begun).toEqual(['a0'])
    expect(refused).toEqual(['a11'])
    pass(999)
    handshakes.check()
    expect(refused).toEqual(['a11'])
    pass(1)
    handshakes.check()
    expect(refused).toHaveLength(11)
    expect([handshakes.count(), handshakes.waitingCount()]).toEqual([1, 0])
  })

  it('whose clients left while they waited are passed over, however many they are', () => {
    const { handshakes } = door({ perAddress: 1000, perNode: 1000 })
    const leaves: (() => void)[] = []
    const enter = (isGone: boolean) =>
      handshakes.enter(
        'a',
        (leave) => {
          if (isGone) leave()
          else leaves.push(leave)
        },
        () => {},
      )
    for (let index = 0; index < 1000; index += 1) enter(false)
    for (let index = 0; index < 9000; index += 1) enter(true)
    expect([handshakes.count(), handshakes.waitingCount()]).toEqual([1000, 9000])
    leaves[0]?.()
    expect([handshakes.count(), handshakes.waitingCount()]).toEqual([999, 0])
  })

  it('make room in the line when their client leaves', () => {
    const { handshakes } = door({ perAddress: 1, perNode: 10 })
    let leave = () => {}
    handshakes.enter(
      'a',
      (over) => (leave = over),
      () => {},
    )
    const waiter = handshakes.enter(
      'a',
      () => {},
      () => {},
    )
    expect(handshakes.waitingCount()).toBe(1)
    waiter?.leave()
    waiter?.leave()
    expect(handshakes.waitingCount()).toBe(0)
    leave()
    expect(handshakes.count()).toBe(0)
  })

  it('are all refused when the process stops', () => {
    const { enter, refused, handshakes } = door({ perAddress: 1, perNode: 10 })
    for (const name of ['a1', 'a2', 'a3']) enter('a', name)
    handshakes.close()
    expect(refused).toEqual(['a2', 'a3'])
    enter('b', 'b1')
    expect(refused).toEqual(['a2', 'a3', 'b1'])
  })
})
