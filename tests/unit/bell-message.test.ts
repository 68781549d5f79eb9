import fc from 'fast-check'
import { expect, it } from 'vitest'
import { presenceRecord } from '../../src/stores/redis/answers.ts'
import { bellMessage } from '../../src/stores/redis/bell-message.ts'
import { loggedStep } from '../../src/stores/redis/logged-steps.ts'

it('takes a message of ours, with fields of a later version too', () => {
  const message = { epoch: 'one', bell: 1, seq: 2, entry: '[]', viewer: 'alice', record: 3, lostBy: ['node-1'] }
  expect(bellMessage(message)).toEqual(message)
  expect(bellMessage({ ...message, later: { any: 1 } })).not.toBeNull()
  expect(bellMessage({ epoch: 'one', bell: 1 })).not.toBeNull()
})

it('throws for nothing that JSON can say, wherever it stands', () => {
  fc.assert(
    fc.property(
      fc.json(),
      fc.jsonValue(),
      fc.constantFrom('epoch', 'bell', 'seq', 'entry', 'rooms', 'lostBy'),
      (text, value, name) => {
        bellMessage(JSON.parse(text))
        bellMessage({ epoch: 'one', bell: 1, [name]: value })
        loggedStep(text, text)
        presenceRecord(1, text)
      },
    ),
  )
})

it('throws for no entry and no record in which one part is of another kind', () => {
  const user = ['alice', 'Alice', false, true, 'ONLINE', false, 1000, 1000]
  const entry = [1, 1000, user, ['hall'], user, [], 0]
  const record = [
    'alice',
    ['Alice', false, 1],
    [true, 1, 1],
    [['start', 'one', false, {}, false, true, 1, 1, false, false]],
    false,
  ]
  expect(loggedStep(JSON.stringify(entry), '[1,["hall"],{}]')).toMatchObject({ seq: 1, userAfter: { id: 'alice' } })
  expect(presenceRecord(1, JSON.stringify(record))).toMatchObject({ userId: 'alice', sessions: [{ startId: 'start' }] })
  fc.assert(
    fc.property(fc.nat(6), fc.jsonValue(), fc.jsonValue(), (place, value, inner) => {
      loggedStep(JSON.stringify(entry.with(place, value as never)), JSON.stringify(inner))
      presenceRecord(1, JSON.stringify(record.with(place % record.length, value as never)))
      const changed = user.with(place, inner as never)
      loggedStep(JSON.stringify(entry.with(2, changed).with(4, changed)))
    }),
  )
})
