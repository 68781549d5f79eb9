import { expect, it } from 'vitest'
import { createReplays } from '../../src/fanout/replays.ts'
import type { PublicUser } from '../../src/presence/model.ts'
import { RoomSet } from '../../src/presence/room-set.ts'
import type { ChangeLog } from '../../src/presence/store.ts'

it('makes no event of a log that was lost while it was read', async () => {
  let told = { epoch: 'old', seq: 10 }
  let answer: (read: Awaited<ReturnType<ChangeLog['read']>>) => void = () => {}
  const replays = createReplays({
    read: () => new Promise((resolve) => (answer = resolve)),
    announced: () => told,
    logCount: 100,
  })
  const replay = replays.after(5, { kind: 'everyone' }, false)
  told = { epoch: 'new', seq: 0 }
  replays.clear()
  answer({ entries: [], position: { epoch: 'old', seq: 10 } })
  await expect(replay).rejects.toMatchObject({ code: 'POSITION_EXPIRED' })
})

const USER: PublicUser = {
  id: 'alice',
  name: 'Alice',
  avatarUrl: null,
  isOnline: true,
  status: 'ONLINE',
  statusMessage: null,
  onlineSinceMs: 1000,
  lastActiveAtMs: 1000,
  lastSeenAtMs: null,
}
const GONE: PublicUser = { ...USER, isOnline: false, status: 'OFFLINE', onlineSinceMs: null }

/** @returns how many of 1,000 entries are at hand, by what has to be read from the store */
async function countAtHand(roomsOf: (seq: number) => RoomSet): Promise<number> {
  let readCount = 0
  const replays = createReplays({
    read: async (position) => {
      readCount += 1
      return { entries: [], position }
    },
    announced: () => ({ epoch: 'one', seq: 1000 }),
    logCount: 10_000,
  })
  for (let seq = 1; seq <= 1000; seq += 1) {
    const rooms = roomsOf(seq)
    replays.add({
      ...{ seq, atMs: seq, movedRooms: rooms },
      before: { user: GONE, rooms: RoomSet.empty },
      after: { user: USER, rooms },
    })
  }
  let count = 0
  for (let after = 999; after >= 0; after -= 1) {
    readCount = 0
    await replays.after(after, { kind: 'room', room: 'none' }, false)
    replays.forget()
    if (readCount > 0) break
    count += 1
  }
  return count
}

it('has fewer entries at hand where their users entered many rooms by them', async () => {
  const names = Array.from({ length: 100 }, (_, index) => `room-${index}`)
  expect(await countAtHand(() => RoomSet.of(['hall']))).toBe(1000)
  expect(await countAtHand(() => RoomSet.of(names))).toBe(500)
  // Of a user who hides and comes back there is one set.
  const shared = RoomSet.of(names)
  expect(await countAtHand(() => shared)).toBe(1000)
})
