/** What a step costs, by the commands that Redis counts, and that nothing is counted twice. */
import fc from 'fast-check'
import { expect, it } from 'vitest'
import type { PresenceStore } from '../../../src/presence/store.ts'
import { adoptedUser, detach, onlineIds, type Socket, socketOf, tryAttach } from '../presence-store/harness.ts'
import type { RedisNodes } from '../redis-harness.ts'
import { attachRequest, ownRedis, renew } from './own-redis.ts'

const USER_COUNT = 3000
const redis = ownRedis()

/** How often each command was called, in scripts too. */
async function callsOf(nodes: RedisNodes, step: () => Promise<unknown>): Promise<Readonly<Record<string, number>>> {
  await nodes.redis.config('RESETSTAT')
  await step()
  const stats = await nodes.redis.info('commandstats')
  const calls = [...stats.matchAll(/^cmdstat_(\S+):calls=(\d+)/gm)].map(([, name, count]) => [name, Number(count)])
  const { 'config|resetstat': _own, info: _asked, ...others } = Object.fromEntries(calls)
  return others
}

/** As it is from the second time on: then Redis knows the script. */
async function callsAgain(nodes: RedisNodes, step: () => Promise<unknown>) {
  await step()
  return callsOf(nodes, step)
}

it('a page, a count, a look-up, a heartbeat and a sweep cost what they tell, and not who is there', async () => {
  const nodes = await redis.nodes()
  const store = await nodes.join()
  const userIds = Array.from({ length: USER_COUNT }, (_, index) => `user-${String(index).padStart(4, '0')}`)
  await Promise.all(
    userIds.map((userId) => store.attach({ ...attachRequest(userId, 'one', `node-1:${userId}`), rooms: ['hall'] })),
  )
  expect(await store.count('hall')).toBe(USER_COUNT)

  // The clock of the tests is one of the reads.
  const clock = 1
  const head = { evalsha: 1, hmget: 1 }
  for (const room of [null, 'hall']) {
    expect(await callsAgain(nodes, () => store.page({ room, first: 10, after: 'user-1499' }))).toEqual({
      ...head,
      get: clock + 10,
      hget: 1,
      zrangebylex: 1,
      zcard: 1,
    })
    expect(await callsAgain(nodes, () => store.count(room))).toEqual({ ...head, get: clock, zcard: 1 })
  }
  expect(await callsAgain(nodes, () => store.lookup(['user-0001', 'user-2999', 'nobody']))).toEqual({
    ...head,
    get: clock + 3,
  })
  const beat = { userId: 'user-0001', sessionId: 'one', fence: 'node-1:user-0001', isActive: true, profile: null }
  const ofABeat = await callsAgain(nodes, () => store.beat(beat))
  expect(ofABeat).toMatchObject({ ...head, get: clock + 1, set: 1 })
  expect(ofABeat).not.toHaveProperty('publish')
  for (const step of [
    () => store.sweep(100),
    () => store.reapNodes(100),
    () => renew(store, 'node-1'),
    () => store.changes.position(),
    () => store.changes.read({ epoch: 'another', seq: 0 }, 10),
  ]) {
    const calls = await callsAgain(nodes, step)
    const total = Object.values(calls).reduce((sum, count) => sum + count, 0)
    expect(total, `${step}: ${JSON.stringify(calls)}`).toBeLessThanOrEqual(16)
    for (const name of ['keys', 'scan', 'sscan', 'hscan', 'zscan', 'smembers', 'hgetall', 'zrange']) {
      expect(calls, String(step)).not.toHaveProperty(name)
    }
  }
})

it('an attach of one user costs the same however many there are', async () => {
  const nodes = await redis.nodes()
  const store = await nodes.join()
  const attach = (userId: string) => () => store.attach(attachRequest(userId, 'one', `node-1:${userId}`))
  await attach('first')()
  const ofFew = await callsOf(nodes, attach('second'))
  await Promise.all(Array.from({ length: 500 }, (_, index) => attach(`many-${index}`)()))
  expect(await callsOf(nodes, attach('third'))).toEqual(ofFew)
})

const SESSIONS = ['one', 'two', 'three'] as const
const userId = fc.constantFrom('a', 'b')
const sessionId = fc.constantFrom(...SESSIONS)
const history = fc.array(
  fc.oneof(
    fc.record({ kind: fc.constant('attach' as const), userId, sessionId, isComeback: fc.boolean() }),
    fc.record({ kind: fc.constant('beat' as const), userId, sessionId }),
    fc.record({ kind: fc.constant('detach' as const), userId, silentForMs: fc.constantFrom(0, 10_000) }),
    fc.record({ kind: fc.constant('end' as const), userId, sessionId: fc.option(sessionId) }),
    fc.record({ kind: fc.constant('adopt' as const), userId, sessionId }),
    fc.record({ kind: fc.constant('pass' as const), ms: fc.constantFrom(50, 300) }),
    fc.record({ kind: fc.constant('ack' as const) }),
  ),
  { minLength: 10, maxLength: 40 },
)

it('the count of sessions is that of the sessions, and the lists hold whom they should, after any history', async () => {
  await fc.assert(
    fc.asyncProperty(history, async (steps) => {
      const timing = { sessionsPerUser: 2, closeGraceMs: 100, reconnectGraceMs: 200, sessionTtlMs: 300, nodeTtlMs: 500 }
      const nodes = await redis.nodes(timing)
      try {
        const store = await nodes.join()
        const sockets: Socket[] = []
        for (const step of steps) await take(store, nodes, step, sockets)
        let count = 0
        for (const id of ['a', 'b']) {
          const viewer = await store.viewer(id)
          count += viewer === null || viewer === 'pending' ? 0 : viewer.sessions.length
        }
        expect(Number((await nodes.redis.hget(`${nodes.root}:meta`, 'sessionCount')) ?? 0)).toBe(count)
        const listed = [...(await onlineIds(store)), ...(await nodes.redis.zrange(`${nodes.root}:unlisted`, 0, -1))]
        const known = (await nodes.redis.keys(`${nodes.root}:user:*`)).map((key) => key.split(':user:')[1])
        expect(listed.sort()).toEqual(known.sort())
      } finally {
        await nodes.close()
      }
    }),
    { numRuns: 60 },
  )
})

type Step = ReturnType<typeof history.generate>['value'][number]

async function take(store: PresenceStore, nodes: RedisNodes, step: Step, sockets: Socket[]): Promise<void> {
  switch (step.kind) {
    case 'attach': {
      const socket = socketOf(step.userId, step.sessionId)
      const formerFences = sockets.map(({ fence }) => fence)
      const comeback = step.isComeback ? { startedForMs: 100, lastActiveForMs: 50, formerFences, startId: null } : null
      const answer = await tryAttach(store, socket, { comeback })
      if (answer.kind === 'attached') sockets.push(socket)
      return
    }
    case 'beat': {
      const beat = { userId: step.userId, sessionId: step.sessionId, fence: null, isActive: true, profile: null }
      const answer = await store.beat(beat)
      if (answer?.kind === 'unknown') await tryAttach(store, { ...beat, nodeId: null })
      return
    }
    case 'detach': {
      const socket = sockets.find((one) => one.userId === step.userId)
      if (socket !== undefined) await detach(store, socket, 'silent', step.silentForMs)
      return
    }
    case 'end':
      await store.end({ userId: step.userId, sessionId: step.sessionId, fence: null, reason: 'WENT_OFFLINE' })
      return
    case 'adopt': {
      const nowMs = nodes.nowMs()
      const row = {
        ...{ startId: `start-${step.sessionId}`, sessionId: step.sessionId, device: null, rooms: [], nodeId: 'node-0' },
        ...{ hadSocket: true, startedAtMs: nowMs, lastActiveAtMs: nowMs, endedAtMs: null, endReason: null },
      }
      await store.adopt([adoptedUser(step.userId, nowMs, { sessions: [row] })])
      return
    }
    case 'pass':
      await nodes.pass(store, step.ms)
      return
    case 'ack': {
      const { epoch, lastSeq } = await store.records.read(0, 1)
      await store.records.ack(epoch, lastSeq)
    }
  }
}
