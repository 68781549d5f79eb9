/** The bell loses, doubles and delays; what is told does not (src/stores/redis/change-follower.ts). */
import { Redis } from 'ioredis'
import { expect, it } from 'vitest'
import { until } from '../../support/wait.ts'
import { connect, goOffline } from '../presence-store/harness.ts'
import { listenTo, ownRedis, renew } from './own-redis.ts'

const redis = ownRedis()

function joins(...userIds: readonly string[]): readonly string[] {
  return userIds.map((userId, index) => `${index + 1} ${userId} JOIN`)
}

it('tells each entry once and in order to another node', async () => {
  const nodes = await redis.nodes()
  const [one, other] = [await nodes.join(), await nodes.join()]
  const told = [listenTo(one), listenTo(other)]
  for (const userId of ['a', 'b', 'c']) await connect(one, userId)
  await connect(other, 'd')
  for (const { changes } of told) {
    await until(() => changes.length >= 4, { what: 'the entries' })
    expect(changes).toEqual(joins('a', 'b', 'c', 'd'))
  }
})

it('reads from the log what the bell lost, as soon as it rings again', async () => {
  const nodes = await redis.nodes()
  const [loud, mute, listener] = [await nodes.join(), await nodes.join({ isMute: true }), await nodes.join()]
  const told = listenTo(listener)
  await connect(loud, 'a')
  await until(() => told.changes.length === 1, { what: 'the first entry' })
  for (const userId of ['b', 'c', 'd']) await connect(mute, userId)
  told.viewers.length = 0
  await connect(loud, 'e')
  await until(() => told.changes.length >= 5, { what: 'what was lost' })
  expect(told.changes).toEqual(joins('a', 'b', 'c', 'd', 'e'))
  // Whose view changed meanwhile is in no log.
  await until(() => told.viewers.includes(null), { what: 'the word to all viewers' })
  expect(told.newEpochs).toEqual([])
})

it('reads it by the next renewal where it does not ring any more', async () => {
  const nodes = await redis.nodes()
  const [mute, listener] = [await nodes.join({ isMute: true }), await nodes.join()]
  const told = listenTo(listener)
  for (const userId of ['a', 'b']) await connect(mute, userId)
  await renew(listener, 'node-2')
  await until(() => told.changes.length >= 2, { what: 'what was lost' })
  expect(told.changes).toEqual(joins('a', 'b'))
})

it('tells nothing twice and nothing out of order where messages come doubled, late and in any order', async () => {
  const nodes = await redis.nodes()
  const [loud, mute, listener] = [await nodes.join(), await nodes.join({ isMute: true }), await nodes.join()]
  const told = listenTo(listener)
  const channel = `${nodes.root}:bell`
  const ear = new Redis(redis.server().url)
  const said: string[] = []
  ear.on('message', (_, message) => said.push(message))
  await ear.subscribe(channel)
  try {
    const expected: string[] = []
    for (let round = 1; round <= 40; round += 1) {
      const userId = `user-${round}`
      await connect(round % 3 === 0 ? mute : loud, userId)
      expected.push(userId)
      // The newest again, one of the first, and one of half-way, as if they had been on their way all the time.
      for (const place of [said.length - 1, round % 5, Math.floor(said.length / 2)]) {
        const message = said[place]
        if (message !== undefined) await nodes.redis.publish(channel, message)
      }
    }
    // The last words of another life of the state.
    const { seq } = await listener.changes.position()
    const [message] = said.map((text) => JSON.parse(text)).filter(({ entry }) => entry !== undefined)
    const entry = JSON.stringify([seq + 1, ...JSON.parse(message.entry).slice(1)])
    await nodes.redis.publish(channel, JSON.stringify({ ...message, epoch: 'another-epoch', seq: seq + 1, entry }))
    await connect(loud, 'the-last')
    expected.push('the-last')
    await until(() => told.changes.length >= expected.length, { what: 'all entries' })
    expect(told.changes).toEqual(joins(...expected))
    expect(told.newEpochs).toEqual([])
  } finally {
    ear.disconnect()
  }
})

it('holds what comes ahead of a gap until the gap is filled', async () => {
  const nodes = await redis.nodes()
  const [loud, mute, listener] = [await nodes.join(), await nodes.join({ isMute: true }), await nodes.join()]
  const told = listenTo(listener)
  await connect(loud, 'a')
  await connect(mute, 'b')
  // Many at once, so that some come while the log is read.
  await Promise.all(Array.from({ length: 20 }, (_, index) => connect(loud, `many-${index}`)))
  await until(() => told.changes.length >= 22, { what: 'all entries' })
  expect(told.changes.map((change) => Number(change.split(' ')[0]))).toEqual(
    Array.from({ length: 22 }, (_, index) => index + 1),
  )
})

it('misses nothing where its connection is killed again and again', async () => {
  const nodes = await redis.nodes()
  const [one, other] = [await nodes.join(), await nodes.join()]
  const told = listenTo(other)
  const expected: string[] = []
  for (let round = 1; round <= 30; round += 1) {
    if (round % 4 === 0) await nodes.redis.client('KILL', 'TYPE', 'pubsub')
    await connect(one, 'alice')
    await goOffline(one, 'alice')
    expected.push(`${2 * round - 1} alice JOIN`, `${2 * round} alice LEAVE`)
  }
  await until(() => told.changes.length >= expected.length, { what: 'all entries' })
  expect(told.changes).toEqual(expected)
  expect(told.viewers).toContain(null)
  expect(told.newEpochs).toEqual([])
})

it('finds within two renewals that its bell is deaf, and hears by another connection', async () => {
  const nodes = await redis.nodes()
  const proxy = await redis.proxy()
  const [loud, deaf] = [await nodes.join(), await nodes.join({ through: { bell: proxy.url } })]
  const told = listenTo(deaf)
  let recordRings = 0
  deaf.records.listen(() => {
    recordRings += 1
  })
  await connect(loud, 'a')
  await until(() => told.changes.length === 1, { what: 'the first entry' })
  await renew(deaf, 'node-2')

  proxy.silenceOpen()
  await connect(loud, 'b')
  told.viewers.length = 0
  recordRings = 0
  expect(proxy.connectionCount()).toBe(1)
  await renew(deaf, 'node-2')
  await until(() => told.changes.length === 2, { what: 'the second entry' })
  await renew(deaf, 'node-2')
  await until(() => proxy.connectionCount() === 2, { what: 'another connection' })
  expect(told.viewers).toContain(null)
  expect(recordRings).toBeGreaterThan(0)

  // It says so when it listens again: then it needs no renewal.
  await until(() => told.viewers.filter((userId) => userId === null).length === 2, { what: 'the new subscription' })
  await connect(loud, 'c')
  await until(() => told.changes.length === 3, { what: 'the third entry' })
  expect(told.changes).toEqual(joins('a', 'b', 'c'))
})

it('leaves a bell alone that is quiet because nothing happens', async () => {
  const nodes = await redis.nodes()
  const proxy = await redis.proxy()
  const [loud, quiet] = [await nodes.join(), await nodes.join({ through: { bell: proxy.url } })]
  const told = listenTo(quiet)
  await connect(loud, 'a')
  await until(() => told.changes.length === 1, { what: 'the entry' })
  told.viewers.length = 0
  for (let round = 0; round < 5; round += 1) await renew(quiet, 'node-2')
  expect(proxy.connectionCount()).toBe(1)
  expect(told.viewers).toEqual([])
})

it('leaves the bell of a node alone that joined after the last ring', async () => {
  const nodes = await redis.nodes()
  const proxy = await redis.proxy()
  await nodes.join()
  const quiet = await nodes.join({ through: { bell: proxy.url } })
  const told = listenTo(quiet)
  for (let round = 0; round < 3; round += 1) await renew(quiet, 'node-2')
  expect(told.viewers).toEqual([])
  expect(proxy.connectionCount()).toBe(1)
})

it('sends everyone who follows to read anew where the log was trimmed beyond what was told', async () => {
  const nodes = await redis.nodes({ logCount: 3 })
  const [mute, listener] = [await nodes.join({ isMute: true }), await nodes.join()]
  const told = listenTo(listener)
  for (let index = 0; index < 6; index += 1) await connect(mute, `user-${index}`)
  await renew(listener, 'node-2')
  await until(() => told.newEpochs.length === 1, { what: 'the word to begin anew' })
  const { epoch } = await listener.changes.position()
  expect(told).toMatchObject({ changes: [], newEpochs: [`${epoch} 6`], anewCount: 0 })
})
