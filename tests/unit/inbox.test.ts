import { describe, expect, it } from 'vitest'
import { Inbox } from '../../src/server/inbox.ts'

const turn = () => new Promise((resolve) => setImmediate(resolve))

function openInbox() {
  const taken: string[] = []
  const reading: string[] = []
  const inbox = new Inbox<{ readonly name: string; readonly bytes: number }>(({ name }) => taken.push(name), {
    pause: () => reading.push('pause'),
    resume: () => reading.push('resume'),
    inTurn: (work) => void setImmediate(work),
  })
  return {
    inbox,
    taken,
    reading,
    receive(count: number, bytes: number) {
      for (let index = 0; index < count; index += 1) inbox.receive({ name: `${index}`, bytes })
    },
  }
}

describe('an inbox', () => {
  it('takes ten small messages a turn of the event loop, in their order', async () => {
    const { taken, receive } = openInbox()
    receive(25, 100)
    expect(taken).toHaveLength(10)
    await turn()
    expect(taken).toHaveLength(20)
    await turn()
    expect(taken).toEqual(Array.from({ length: 25 }, (_, index) => `${index}`))
  })

  it('takes one long message a turn, and none at once', async () => {
    const { taken, receive } = openInbox()
    receive(3, 40_000)
    expect(taken).toHaveLength(0)
    for (const count of [1, 2, 3]) {
      await turn()
      expect(taken).toHaveLength(count)
    }
  })

  it('stops reading while much waits, and goes on when all of it is taken', async () => {
    const { taken, reading, receive } = openInbox()
    receive(20, 40_000)
    expect(reading).toEqual(['pause'])
    while (taken.length < 19) await turn()
    expect(reading).toEqual(['pause'])
    await turn()
    expect(taken).toHaveLength(20)
    expect(reading).toEqual(['pause', 'resume'])
    receive(20, 40_000)
    expect(reading).toEqual(['pause', 'resume', 'pause'])
  })

  it('takes nothing any more when it is closed', async () => {
    const { inbox, taken, receive } = openInbox()
    receive(20, 100)
    inbox.close()
    await turn()
    expect(taken).toHaveLength(10)
  })
})
