import { PassThrough, type Writable } from 'node:stream'
import { describe, expect, it } from 'vitest'
import * as ws from 'ws'
import { latin1 } from '../../src/execution/json.ts'
import { Outbox } from '../../src/server/outbox.ts'

// Its types leave it out.
const { Receiver } = ws as unknown as { Receiver: new (options: { isServer: boolean }) => Writable }

/** A socket whose frames are read by `ws`'s own receiver, and whose stream takes so much. */
function openSocket({ highWaterMark = 16 * 1024 } = {}) {
  const socket = { OPEN: 1, readyState: 1 }
  const stream = new PassThrough({ highWaterMark })
  const receiver = new Receiver({ isServer: false })
  const messages: string[] = []
  receiver.on('message', (data: Buffer, isBinary: boolean) => {
    messages.push(isBinary ? 'binary' : data.toString())
  })
  const writes: string[] = []
  const write = stream.write.bind(stream)
  stream.write = ((chunk: string, encoding: BufferEncoding) => {
    writes.push(chunk)
    return write(chunk, encoding)
  }) as typeof stream.write
  return {
    socket,
    stream,
    messages,
    writes,
    outbox: new Outbox(socket as unknown as ws.WebSocket, stream),
    /** The client reads all that is there. */
    async read() {
      await turn()
      for (let chunk = stream.read(); chunk !== null; chunk = stream.read()) receiver.write(chunk)
      await turn()
    },
  }
}

async function turn(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve))
  await new Promise((resolve) => setImmediate(resolve))
}

describe('an outbox', () => {
  it('writes what is sent in one turn at once, in its order, and the frames are those of RFC 6455', async () => {
    const { outbox, messages, writes, read } = openSocket()
    for (const text of ['one', 'two', 'three']) outbox.send(text)
    expect(writes).toEqual([])
    await read()
    outbox.send('four')
    await read()
    expect(writes).toHaveLength(2)
    expect(messages).toEqual(['one', 'two', 'three', 'four'])
  })

  it.each([0, 1, 125, 126, 127, 65_535, 65_536, 200_000])('frames a message of %i bytes', async (bytes) => {
    const { outbox, messages, read } = openSocket()
    const text = 'x'.repeat(bytes)
    outbox.send(text)
    outbox.send('after it')
    await read()
    expect(messages).toEqual([text, 'after it'])
  })

  it('sends any text as its bytes in UTF-8', async () => {
    const { outbox, messages, read } = openSocket()
    const texts = ['plain', 'Zoë', '李雷', '👋🏽', 'half \ud83d a pair', '\u0000\u0080\u00ff']
    for (const text of texts) outbox.send(latin1(text))
    await read()
    expect(messages).toEqual(texts.map((text) => text.replace('\ud83d ', '\ufffd ')))
  })

  it('sends a message in parts at once, after what is gathered, and copies no bytes', async () => {
    const { outbox, messages, writes, read } = openSocket({ highWaterMark: 1_000_000 })
    const shared = Buffer.from('é'.repeat(100_000))
    outbox.send('before')
    outbox.sendBytes([latin1('"é":'), shared, '}'])
    outbox.send('after')
    expect(writes.includes(shared as unknown as string)).toBe(true)
    await read()
    expect(messages).toEqual(['before', `"é":${'é'.repeat(100_000)}}`, 'after'])
  })

  it('is full after a message in parts that its client does not read', async () => {
    const { outbox, read } = openSocket({ highWaterMark: 1000 })
    outbox.sendBytes(['head', Buffer.alloc(5000, 'x')])
    expect(outbox.isFull()).toBe(true)
    await read()
    expect(outbox.isFull()).toBe(false)
  })

  it('sends no parts to a socket that closes or is closed', async () => {
    const { outbox, socket, writes } = openSocket()
    socket.readyState = 2
    outbox.sendBytes(['head', Buffer.from('tail')])
    outbox.close()
    socket.readyState = 1
    outbox.sendBytes(['head', Buffer.from('tail')])
    await turn()
    expect(writes).toEqual([])
  })

  it('gathers no more than it may, however much a turn brings', async () => {
    const { outbox, writes, read, messages } = openSocket({ highWaterMark: 10_000_000 })
    for (let count = 0; count < 1000; count += 1) outbox.send('x'.repeat(1000))
    await read()
    expect(messages).toHaveLength(1000)
    expect(Math.max(...writes.map(({ length }) => length))).toBeLessThan(64 * 1024 + 1010)
  })

  it('lets others have their turn where very many sockets are written to', async () => {
    const sockets = Array.from({ length: 1200 }, () => openSocket())
    for (const { outbox } of sockets) outbox.send('one')
    const writtenCounts: number[] = []
    for (let turns = 0; turns < 4; turns += 1) {
      await new Promise((resolve) => setImmediate(resolve))
      writtenCounts.push(sockets.filter(({ writes }) => writes.length > 0).length)
    }
    expect(writtenCounts).toEqual([500, 1000, 1200, 1200])
  })

  it('is full where its client does not read, and says when it has drained', async () => {
    const { outbox, read } = openSocket({ highWaterMark: 1000 })
    let drainedCount = 0
    outbox.send('x'.repeat(5000))
    expect(outbox.isFull()).toBe(false)
    await turn()
    expect(outbox.isFull()).toBe(true)
    outbox.onceDrained(() => {
      drainedCount += 1
    })
    outbox.onceDrained(() => {
      drainedCount += 1
    })
    await turn()
    expect([outbox.isFull(), drainedCount]).toEqual([true, 0])
    await read()
    expect([outbox.isFull(), drainedCount]).toEqual([false, 2])
  })

  it('is not full any more where it drained and nobody waited for it', async () => {
    const { outbox, read } = openSocket({ highWaterMark: 1000 })
    outbox.send('x'.repeat(5000))
    await turn()
    expect(outbox.isFull()).toBe(true)
    await read()
    expect(outbox.isFull()).toBe(false)
  })

  it('writes before something else does where it is told to, and nothing once its socket closes', async () => {
    const { outbox, messages, socket, read } = openSocket()
    outbox.send('before the close frame')
    outbox.flush()
    outbox.send('after it')
    socket.readyState = 2
    await read()
    expect(messages).toEqual(['before the close frame'])
  })

  it('lets nobody wait for a socket that is closed', async () => {
    const { outbox, writes } = openSocket({ highWaterMark: 10 })
    outbox.send('x'.repeat(100))
    await turn()
    let isResumed = false
    outbox.onceDrained(() => {
      isResumed = true
    })
    outbox.send('gathered')
    outbox.close()
    outbox.send('too late')
    await turn()
    expect([isResumed, outbox.isFull(), writes.length]).toEqual([true, false, 1])
  })
})
