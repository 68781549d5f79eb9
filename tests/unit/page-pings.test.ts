import { describe, expect, it } from 'vitest'
import { PagePings } from '../../src/server/page-pings.ts'

/** What a conforming client may answer: with the payload, or without it. */
function payloadOf(message: string): unknown {
  return JSON.parse(message).payload
}

describe('the pings of the protocol', () => {
  it('are answered by a pong that brings the nonce back', () => {
    const pings = new PagePings()
    const message = pings.ask('one')
    expect(JSON.parse(message)).toEqual({ type: 'ping', payload: { nonce: 'one' } })
    expect(pings.answeredBy(payloadOf(message))).toBe('one')
    expect(pings.answeredBy(payloadOf(message))).toBeNull()
  })

  it.each([undefined, null, {}, { filler: true }, { nonce: 1 }, { nonce: { toString: 1 } }, 'text', []])(
    'are answered by a pong whose payload is %j',
    (payload) => {
      const pings = new PagePings()
      pings.ask('one')
      expect(pings.answeredBy(payload)).toBe('one')
    },
  )

  it('are not answered by another nonce', () => {
    const pings = new PagePings()
    pings.ask('one')
    expect(pings.answeredBy({ nonce: 'another' })).toBeNull()
    expect(pings.answeredBy({ nonce: 'one' })).toBe('one')
  })

  it('are not answered by a pong that came unasked before them', () => {
    const pings = new PagePings()
    expect(pings.answeredBy(undefined)).toBeNull()
    pings.ask('one')
    expect(pings.answeredBy(undefined)).toBe('one')
  })

  it('are not answered by a pong without a payload while an older ping waits for its own', () => {
    const pings = new PagePings()
    pings.sent()
    pings.ask('one')
    expect(pings.answeredBy(undefined)).toBeNull()
    expect(pings.answeredBy(undefined)).toBe('one')
    expect(pings.answeredBy(undefined)).toBeNull()
  })

  it('are answered in their order, and by a nonce also before its turn', () => {
    const pings = new PagePings()
    pings.ask('one')
    pings.ask('two')
    expect([pings.answeredBy(undefined), pings.answeredBy(undefined)]).toEqual(['one', 'two'])
    pings.sent()
    pings.ask('three')
    pings.ask('four')
    expect(pings.answeredBy({ nonce: 'three' })).toBe('three')
    expect(pings.answeredBy(undefined)).toBe('four')
  })

  it('are remembered in a bounded number where a client answers none', () => {
    const pings = new PagePings()
    for (let number = 0; number < 100; number += 1) pings.ask(String(number))
    expect(pings.answeredBy({ nonce: '1' })).toBeNull()
    expect(pings.answeredBy({ nonce: '99' })).toBe('99')
  })
})
