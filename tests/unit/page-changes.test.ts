import { describe, expect, it } from 'vitest'
import { changesBetween, type Shown } from '../../web/page/changes.ts'

function user(id: string, changed: Partial<Shown> = {}): Shown {
  return { id, name: id, status: 'ONLINE', statusMessage: null, ...changed }
}

const [alice, bob, carol] = [user('alice'), user('bob'), user('carol')]

function told(before: readonly Shown[], after: readonly Shown[]): string[] {
  return changesBetween(before, after).map((change) => `${change.kind} ${change.user.id}`)
}

describe('the changes between two looks at a list', () => {
  it('are none where the users are the same', () => {
    expect(told([alice, bob], [alice, bob])).toEqual([])
  })

  it('tell who came and who went, wherever they are in the list', () => {
    expect(told([], [alice, bob])).toEqual(['came alice', 'came bob'])
    expect(told([alice, carol], [bob])).toEqual(['went alice', 'came bob', 'went carol'])
    expect(told([alice, bob, carol], [])).toEqual(['went alice', 'went bob', 'went carol'])
  })

  it('tell who changed, with what was shown before', () => {
    const busy = user('bob', { status: 'BUSY', statusMessage: 'In a call' })
    expect(changesBetween([alice, bob], [alice, busy])).toEqual([{ kind: 'changed', user: busy, previous: bob }])
  })

  it('leave out what nobody is shown', () => {
    expect(told([bob], [{ ...bob }])).toEqual([])
  })
})
