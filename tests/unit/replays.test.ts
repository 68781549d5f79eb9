import { expect, it } from 'vitest'
import { createReplays } from '../../src/fanout/replays.ts'
import type { ChangeLog } from '../../src/presence/store.ts'

it('makes no event of a log that was lost while it was read', async () => {
  let told = { epoch: 'old', seq: 10 }
  let answer: (read: Awaited<ReturnType<ChangeLog['read']>>) => void = () => {}
  const replays = createReplays({
    read: () => new Promise((resolve) => (answer = resolve)),
    told: () => told,
    logCount: 100,
  })
  const replay = replays.after(5, { kind: 'everyone' }, false)
  told = { epoch: 'new', seq: 0 }
  replays.clear()
  answer({ entries: [], position: { epoch: 'old', seq: 10 } })
  await expect(replay).rejects.toMatchObject({ code: 'POSITION_EXPIRED' })
})
