import { describe, expect, it } from 'vitest'
import { createExpiries } from '../../src/server/expiries.ts'
import { createPinger } from '../../src/server/pinger.ts'

interface Socket {
  readonly name: string
  lastFrameAtMs: number
}

function pinger(...names: readonly string[]) {
  const pinger = createPinger<Socket>({ intervalMs: 1000, timeoutMs: 300 })
  const sockets = names.map((name) => ({ name, lastFrameAtMs: 0 }))
  for (const socket of sockets) pinger.add(socket, 0)
  return {
    pinger,
    sockets,
    dueAt: (nowMs: number, wasLate = false) =>
      [...pinger.due(() => nowMs, wasLate)].map(
        ({ socket, isSilent }) => `${isSilent ? 'give up' : 'ping'} ${socket.name}`,
      ),
  }
}

describe('the pinger', () => {
  it('pings each by the interval, and gives up who sent nothing within the timeout', () => {
    const { sockets, dueAt, pinger: all } = pinger('a', 'b')
    expect(dueAt(999)).toEqual([])
    expect(dueAt(1000)).toEqual(['ping a', 'ping b'])
    if (sockets[0]) sockets[0].lastFrameAtMs = 1100
    expect(dueAt(1299)).toEqual([])
    expect(dueAt(1300)).toEqual(['give up b'])
    expect(dueAt(1999)).toEqual([])
    expect(dueAt(2000)).toEqual(['ping a'])
    expect(all.count()).toBe(1)
  })

  it('judges nobody where it comes late, nor until a timeout has passed after that', () => {
    const { dueAt } = pinger('a')
    dueAt(1000)
    expect(dueAt(5000, true)).toEqual([])
    expect(dueAt(5299)).toEqual([])
    expect(dueAt(5300)).toEqual(['give up a'])
  })

  it('counts the time of each from its own ping, however long others had their turn before it', () => {
    const { pinger: all } = pinger('a', 'b')
    let nowMs = 1000
    for (const { socket } of all.due(() => nowMs, false)) if (socket.name === 'a') nowMs += 400
    const judged = [...all.due(() => nowMs, false)].map(({ socket }) => socket.name)
    expect(judged).toEqual(['a'])
    nowMs += 300
    expect([...all.due(() => nowMs, false)].map(({ socket }) => socket.name)).toEqual(['b'])
  })

  it('passes by who closes while others have their turn, and leaves nobody out who is due', () => {
    const { pinger: all, sockets } = pinger('a', 'b', 'c')
    const seen: string[] = []
    for (const { socket } of all.due(() => 1000, false)) {
      seen.push(socket.name)
      if (socket.name === 'a' && sockets[1]) all.remove(sockets[1])
    }
    expect(seen).toEqual(['a', 'c'])
  })
})

describe('expiries', () => {
  it('give out each once, in its second, and those that a clock set forward has passed', () => {
    const expiries = createExpiries<string>()
    for (const [name, atMs] of [
      ['a', 1500],
      ['b', 2000],
      ['c', 7000],
      ['d', 9000],
    ] as const) {
      expiries.add(name, atMs)
    }
    expect([...expiries.due(1999)]).toEqual([])
    expect([...expiries.due(2000)]).toEqual(['a', 'b'])
    expect([...expiries.due(2000)]).toEqual([])
    expiries.remove('c')
    expect([...expiries.due(3_600_000)]).toEqual(['d'])
    // Over already, it is given out at the next look.
    expiries.add('e', 5000)
    expect([...expiries.due(3_601_000)]).toEqual(['e'])
  })

  it('are right again once a clock that stood ahead was set back', () => {
    const expiries = createExpiries<string>()
    expect([...expiries.due(3_600_000)]).toEqual([])
    expect([...expiries.due(10_000)]).toEqual([])
    expiries.add('a', 15_000)
    expect([...expiries.due(14_999)]).toEqual([])
    expect([...expiries.due(15_000)]).toEqual(['a'])
  })

  it('pass by who is removed while others have their turn', () => {
    const expiries = createExpiries<string>()
    for (const name of ['a', 'b', 'c']) expiries.add(name, 1000)
    const seen: string[] = []
    for (const name of expiries.due(1000)) {
      seen.push(name)
      expiries.remove('b')
    }
    expect(seen).toEqual(['a', 'c'])
  })
})
