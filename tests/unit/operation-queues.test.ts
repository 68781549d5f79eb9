import { describe, expect, it } from 'vitest'
import { type BeatSender, OperationQueues, Postponed } from '../../src/presence/operation-queues.ts'

/** Operations that begin and end when the test says so. */
function openWorld() {
  const queues = new OperationQueues()
  const said: string[] = []
  const ends = new Map<string, (result: string | null | Postponed) => void>()
  const step = (name: string) => (): Promise<any> => {
    said.push(name)
    return new Promise((resolve) => ends.set(name, resolve))
  }
  const senderOf = (): BeatSender<string, string | null, string> => ({
    tryBeat: (name) => step(name)(),
    resultOf: (answer) => answer,
    beat: (name) => step(`${name}, alone`)(),
  })
  const sender = senderOf()
  return {
    queues,
    said,
    another: senderOf(),
    run: (name: string, userId = 'alice') => queues.run<string>(userId, step(name)),
    beat: (name: string, by = sender) => queues.runBeat('alice', by, name),
    async end(name: string, result: string | null | Postponed = 'done'): Promise<void> {
      const end = ends.get(name)
      if (end === undefined) throw new Error(`${name} has not begun.`)
      end(result)
      await new Promise((resolve) => setImmediate(resolve))
    },
  }
}

/** What an operation waits for, and the word that it may go on. */
function obstacle() {
  let go = (): void => {}
  let refuse = (_error: Error): void => {}
  const postponed = new Postponed((resume, fail) => {
    go = resume
    refuse = fail
  })
  return { postponed, go: () => go(), refuse: (error: Error) => refuse(error) }
}

describe('the operations of a user', () => {
  it('begin at once where nothing is under way, and nothing is kept of them', async () => {
    const { queues, said, run, end } = openWorld()
    const running = run('one')
    expect(said).toEqual(['one'])
    await end('one', 'result')
    expect(await running).toBe('result')
    expect({ size: queues.size(), isIdle: queues.isIdle() }).toEqual({ size: 0, isIdle: true })
  })

  it('have one queue for as long as the user has a socket', async () => {
    const { queues, run, end } = openWorld()
    queues.socketOpened('alice')
    queues.socketOpened('alice')
    void run('one')
    await end('one')
    expect({ size: queues.size(), isIdle: queues.isIdle() }).toEqual({ size: 1, isIdle: true })
    queues.socketClosed('alice')
    void run('two')
    queues.socketClosed('alice')
    expect({ size: queues.size(), isIdle: queues.isIdle() }).toEqual({ size: 1, isIdle: false })
    await end('two')
    expect({ size: queues.size(), isIdle: queues.isIdle() }).toEqual({ size: 0, isIdle: true })
  })

  it('run one after the other, those of others beside them', async () => {
    const { queues, said, run, end } = openWorld()
    const all = [run('one'), run('two'), run('three'), run("bob's", 'bob')]
    expect(said).toEqual(['one', "bob's"])
    await end('one')
    await end('two')
    await end('three')
    await end("bob's")
    expect(said).toEqual(['one', "bob's", 'two', 'three'])
    await Promise.all(all)
    expect(queues.isIdle()).toBe(true)
  })

  it('go on after one that fails', async () => {
    const { queues, said, run, end } = openWorld()
    const failing = queues.run('alice', async () => {
      throw new Error('It failed.')
    })
    const next = run('next')
    await expect(failing).rejects.toThrow('It failed.')
    expect(said).toEqual(['next'])
    await end('next')
    await next
    expect(queues.isIdle()).toBe(true)
  })
})

describe('heartbeats', () => {
  it('of one sender run together, and those of another after them', async () => {
    const { said, beat, another, end } = openWorld()
    const all = [beat('one'), beat('two'), beat('other', another), beat('three')]
    expect(said).toEqual(['one', 'two'])
    await end('two')
    await end('one')
    expect(said).toEqual(['one', 'two', 'other'])
    await end('other')
    await end('three')
    expect(await Promise.all(all)).toEqual(['done', 'done', 'done', 'done'])
  })

  it('do not pass an operation that waits, and run together behind it', async () => {
    const { said, run, beat, end } = openWorld()
    const all = [beat('one'), run('leave'), beat('two'), beat('three'), run('last')]
    expect(said).toEqual(['one'])
    await end('one')
    expect(said).toEqual(['one', 'leave'])
    await end('leave')
    expect(said).toEqual(['one', 'leave', 'two', 'three'])
    await end('two')
    await end('three')
    await end('last')
    await Promise.all(all)
  })

  it('that take more than one step take them alone, in the order in which they came, before all that came later', async () => {
    const { queues, said, run, beat, end } = openWorld()
    const all = [beat('one'), beat('two'), run('leave')]
    await end('two', null)
    expect(said).toEqual(['one', 'two'])
    await end('one', null)
    await end('one, alone')
    await end('two, alone')
    await end('leave')
    expect(said).toEqual(['one', 'two', 'one, alone', 'two, alone', 'leave'])
    await Promise.all(all)
    expect(queues.isIdle()).toBe(true)
  })
})

describe('an operation that is postponed', () => {
  it('holds nobody up, and runs again before all that came after it', async () => {
    const { queues, said, run, end } = openWorld()
    const { postponed, go } = obstacle()
    const all = [run('one'), run('two'), run('three')]
    await end('one', postponed)
    expect(said).toEqual(['one', 'two'])
    go()
    expect(said).toEqual(['one', 'two'])
    await end('two')
    expect(said).toEqual(['one', 'two', 'one'])
    await end('one', 'at last')
    await end('three')
    expect(await Promise.all(all)).toEqual(['at last', 'done', 'done'])
    expect(queues.isIdle()).toBe(true)
  })

  it('goes on in the order in which several of them came, whichever may go on first', async () => {
    const { said, run, end } = openWorld()
    const [first, second] = [obstacle(), obstacle()]
    const all = [run('one'), run('two'), run('three')]
    await end('one', first.postponed)
    await end('two', second.postponed)
    second.go()
    first.go()
    await end('three')
    await end('one')
    await end('two')
    expect(said).toEqual(['one', 'two', 'three', 'one', 'two'])
    await Promise.all(all)
  })

  it('runs again at once where nothing is under way, and fails by what it waited for', async () => {
    const { queues, said, run, beat, end } = openWorld()
    const [first, second] = [obstacle(), obstacle()]
    const running = run('one')
    await end('one', first.postponed)
    expect(queues.isIdle()).toBe(true)
    first.go()
    expect(said).toEqual(['one', 'one'])
    await end('one')
    await running

    const beating = beat('beat')
    await end('beat', null)
    await end('beat, alone', second.postponed)
    second.refuse(new Error('Nobody is there.'))
    await expect(beating).rejects.toThrow('Nobody is there.')
    expect(queues.isIdle()).toBe(true)
  })
})
