import { expect, it } from 'vitest'
import { createChangeFollower } from '../../src/stores/redis/change-follower.ts'
import { type LoggedStep, loggedStep, resolveSteps } from '../../src/stores/redis/logged-steps.ts'
import { until } from '../support/wait.ts'

const ONLINE = ['alice', 'Alice', false, true, 'ONLINE', false, 1000, 1000]
const OFFLINE = ['alice', 'Alice', false, false, 'OFFLINE', false, false, 1000]

/** A step of a user who was in no room, as Redis has it, and what the message says of the rooms. */
function stepInto(rooms: readonly string[], seq: number): LoggedStep {
  const entry = JSON.stringify([seq, seq, OFFLINE, false, ONLINE, false, 0])
  return loggedStep(entry, JSON.stringify([seq, rooms, {}])) as LoggedStep
}

/** Hears the second of two steps and not the first. @returns after which entries the stream was read */
async function readsAfterGap(rooms: readonly string[]): Promise<readonly number[]> {
  const reads: number[] = []
  const told: number[] = []
  const follower = createChangeFollower({
    async read({ seq }) {
      reads.push(seq)
      const trail = ['alice', JSON.stringify([rooms, {}, {}]), JSON.stringify([seq + 1, rooms, {}])] as const
      return { isExpired: false, entries: resolveSteps([stepInto(rooms, seq + 1)], [trail]) ?? [], lastSeq: 2 }
    },
    onError(error) {
      throw error
    },
  })
  follower.begin({ epoch: 'one', seq: 0 })
  follower.listen({
    entry: ({ seq, after }) => void told.push(seq + after.rooms.size / 1000),
    newEpoch() {},
  })
  follower.hear(2, 'one', () => stepInto(rooms, 2))
  await until(() => told.length === 2, { what: 'both entries' })
  expect(told).toEqual([1 + rooms.length / 1000, 2 + rooms.length / 1000])
  follower.close()
  return reads
}

it('a follower keeps what it hears beyond a gap, but for steps into many rooms, which it reads', async () => {
  expect(await readsAfterGap(['hall'])).toEqual([0])
  expect(await readsAfterGap(Array.from({ length: 100 }, (_, index) => `room-${index}`))).toEqual([0, 1])
})
