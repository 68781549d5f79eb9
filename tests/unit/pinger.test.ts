import { describe, expect, it } from 'vitest'
import { createExpiries } from '../../src/server/expiries.ts'
import { createPinger } from '../../src/server/pinger.ts'

interface Socket {
  readonly name: string
  provedAtMs: number
  /** What its client has read of what was sent before a ping; null where nothing waits. */
  readBytes: number | null
}

/** Named sockets that were all there at 0, and a clock that the test sets. */
function open({ names = ['a'], intervalMs = 1000, timeoutMs = 300 } = {}) {
  const pinger = createPinger<Socket>({
    intervalMs,
    timeoutMs,
    provedAtMs: ({ provedAtMs }) => provedAtMs,
    outgoingOf: (socket) => ({
      mark: () => socket.readBytes,
      hasAdvanced: (mark) => mark !== null && (socket.readBytes ?? Number.POSITIVE_INFINITY) > mark,
    }),
  })
  const sockets = names.map((name): Socket => ({ name, provedAtMs: 0, readBytes: null }))
  for (const socket of sockets) pinger.add(socket)
  return {
    pinger,
    sockets,
    socket: sockets[0] as Socket,
    dueAt: (nowMs: number, wasLate = false) =>
      [...pinger.due(() => nowMs, wasLate)].map(
        ({ socket, isSilent }) => `${isSilent ? 'give up' : 'ping'} ${socket.name}`,
      ),
  }
}

describe('the pinger', () => {
  it('pings a socket an interval after its last proof, and gives up one that gave none within the timeout', () => {
    const { socket, dueAt, pinger } = open({ names: ['a', 'b'] })
    expect(dueAt(999)).toEqual([])
    expect(dueAt(1000)).toEqual(['ping a', 'ping b'])
    socket.provedAtMs = 1100
    expect(dueAt(1299)).toEqual([])
    expect(dueAt(1300)).toEqual(['give up b'])
    expect(pinger.count()).toBe(1)
    expect(dueAt(2099)).toEqual([])
    expect(dueAt(2100)).toEqual(['ping a'])
  })

  it('counts from the last proof, not from the look before, whenever between two looks it came', () => {
    for (let provedAtMs = 0; provedAtMs < 1000; provedAtMs += 50) {
      const { socket, dueAt } = open()
      socket.provedAtMs = provedAtMs
      const pingAtMs = provedAtMs + 1000
      for (let nowMs = 0; nowMs < pingAtMs; nowMs += 50) expect(dueAt(nowMs)).toEqual([])
      expect(dueAt(pingAtMs)).toEqual(['ping a'])
    }
  })

  it('counts from a proof that answers late, also where the timeout is many intervals long', () => {
    for (const answerAfterMs of [0, 50, 1000, 1050, 4950]) {
      const { socket, dueAt } = open({ intervalMs: 1000, timeoutMs: 5000 })
      expect(dueAt(1000)).toEqual(['ping a'])
      let nowMs = 1000
      for (; nowMs < 1000 + answerAfterMs; nowMs += 50) expect(dueAt(nowMs)).toEqual([])
      socket.provedAtMs = nowMs
      for (; nowMs < socket.provedAtMs + 1000; nowMs += 50) expect(dueAt(nowMs)).toEqual([])
      expect(dueAt(nowMs)).toEqual(['ping a'])
      // It falls silent, and is found an interval and a timeout after its last proof.
      for (; nowMs < socket.provedAtMs + 6000; nowMs += 50) expect(dueAt(nowMs)).toEqual([])
      expect(dueAt(nowMs)).toEqual(['give up a'])
    }
  })

  it('never pings a socket that goes on giving proofs', () => {
    const { socket, dueAt } = open()
    for (let nowMs = 0; nowMs < 20_000; nowMs += 250) {
      if (nowMs % 750 === 0) socket.provedAtMs = nowMs
      expect(dueAt(nowMs)).toEqual([])
    }
  })

  it('asks for the proofs of no socket before its time', () => {
    let askedCount = 0
    const pinger = createPinger<number>({
      intervalMs: 1000,
      timeoutMs: 300,
      provedAtMs(socket) {
        askedCount += 1
        return socket
      },
      outgoingOf: () => ({ mark: () => null, hasAdvanced: () => false }),
    })
    for (let socket = 0; socket < 1000; socket += 1) pinger.add(socket)
    askedCount = 0
    const due = [...pinger.due(() => 1100, false)]
    expect(due).toHaveLength(101)
    expect(askedCount).toBe(101)
  })

  it('gives nobody up where it comes late, nor until a timeout has passed after that', () => {
    const { dueAt } = open()
    dueAt(1000)
    expect(dueAt(5000, true)).toEqual([])
    expect(dueAt(5299)).toEqual([])
    expect(dueAt(5300)).toEqual(['give up a'])
  })

  it('waits for a ping behind what the client still reads, and not behind what it does not', () => {
    const { socket, dueAt } = open()
    socket.readBytes = 0
    expect(dueAt(1000)).toEqual(['ping a'])
    socket.readBytes = 10
    expect(dueAt(1300)).toEqual([])
    socket.readBytes = 20
    expect(dueAt(1599)).toEqual([])
    expect(dueAt(1600)).toEqual([])
    expect(dueAt(1900)).toEqual(['give up a'])
  })

  it('waits once more after the ping has left, and no longer', () => {
    const { socket, dueAt } = open()
    socket.readBytes = 0
    expect(dueAt(1000)).toEqual(['ping a'])
    socket.readBytes = null
    expect(dueAt(1300)).toEqual([])
    expect(dueAt(1599)).toEqual([])
    expect(dueAt(1600)).toEqual(['give up a'])
  })

  it('looks what waited before the ping when the ping is sent, not before', () => {
    const { socket, pinger, dueAt } = open()
    for (const _ping of pinger.due(() => 1000, false)) socket.readBytes = 0
    socket.readBytes = 10
    expect(dueAt(1300)).toEqual([])
  })

  it('counts the time of each from its own ping, however long others had their turn before it', () => {
    const { pinger } = open({ names: ['a', 'b'] })
    let nowMs = 1000
    for (const { socket } of pinger.due(() => nowMs, false)) if (socket.name === 'a') nowMs += 400
    const givenUp = [...pinger.due(() => nowMs, false)].map(({ socket }) => socket.name)
    expect(givenUp).toEqual(['a'])
    nowMs += 300
    expect([...pinger.due(() => nowMs, false)].map(({ socket }) => socket.name)).toEqual(['b'])
  })

  it('passes by a socket that closes while others have their turn, and leaves out none', () => {
    const { pinger, sockets } = open({ names: ['a', 'b', 'c'] })
    const seen: string[] = []
    for (const { socket } of pinger.due(() => 1000, false)) {
      seen.push(socket.name)
      if (socket.name === 'a' && sockets[1]) pinger.remove(sockets[1])
    }
    expect(seen).toEqual(['a', 'c'])
    expect([...pinger.all()].map(({ name }) => name)).toEqual(['a', 'c'])
  })

  it('leaves out none where the work of a check fails', () => {
    const { pinger, dueAt } = open({ names: ['a', 'b', 'c'] })
    expect(() => {
      for (const _ping of pinger.due(() => 1000, false)) throw new Error('the socket failed')
    }).toThrow('the socket failed')
    expect(dueAt(1050)).toEqual(['ping b', 'ping c'])
    expect(dueAt(1300)).toEqual(['give up a'])
  })

  it('takes in sockets after a time without any', () => {
    const { pinger, socket, dueAt } = open()
    pinger.remove(socket)
    expect(dueAt(100_000)).toEqual([])
    socket.provedAtMs = 100_010
    pinger.add(socket)
    expect(dueAt(101_000)).toEqual([])
    expect(dueAt(101_050)).toEqual(['ping a'])
    // Its last proof may be old already when it is added.
    pinger.remove(socket)
    pinger.add(socket)
    expect(dueAt(200_000)).toEqual(['ping a'])
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
