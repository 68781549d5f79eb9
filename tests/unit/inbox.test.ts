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

  it('says when nothing waits any more, also when it is closed before that', async () => {
    const { inbox, taken, receive } = openInbox()
    await inbox.emptied()
    receive(3, 40_000)
    await inbox.emptied()
    expect(taken).toHaveLength(3)
    receive(3, 40_000)
    const emptied = inbox.emptied()
    inbox.close()
    await emptied
    expect(taken).toHaveLength(3)
  })

  it('goes on after a message that fails', async () => {
    const taken: number[] = []
    const failures: unknown[] = []
    const inbox = new Inbox<{ readonly number: number; readonly bytes: number }>(
      ({ number }) => {
        if (number === 0) throw new Error('No.')
        taken.push(number)
      },
      {
        pause: () => {},
        resume: () => {},
        inTurn(work) {
          setImmediate(() => {
            try {
              work()
            } catch (error) {
              failures.push(error)
            }
          })
        },
      },
    )
    for (let number = 0; number < 3; number += 1) inbox.receive({ number, bytes: 40_000 })
    await inbox.emptied()
    expect({ taken, failed: failures.length }).toEqual({ taken: [1, 2], failed: 1 })
  })

  it('takes nothing any more when it is closed', async () => {
    const { inbox, taken, receive } = openInbox()
    receive(20, 100)
    inbox.close()
    await turn()
    expect(taken).toHaveLength(10)
  })
})
