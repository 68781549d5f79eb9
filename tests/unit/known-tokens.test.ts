import { type JWTPayload, jwtVerify, SignJWT } from 'jose'
import { describe, expect, it } from 'vitest'
import { rememberTokens } from '../../src/server/known-tokens.ts'

const KEY = new TextEncoder().encode('a-secret-of-these-tests-and-nobody-else')
const START_MS = Date.UTC(2026, 0, 1)

function sign(userId: string, { endsInSeconds = 60, key = KEY } = {}): Promise<string> {
  return new SignJWT({ sub: userId })
    .setProtectedHeader({ alg: 'HS256' })
    .setIssuedAt(START_MS / 1000)
    .setExpirationTime(START_MS / 1000 + endsInSeconds)
    .sign(key)
}

/** Tokens that jose verifies, and how often it was asked, by a clock that the test moves. */
function knowing({ maxAgeMs = Number.POSITIVE_INFINITY } = {}) {
  const clock = { nowMs: START_MS }
  const asked = { count: 0 }
  async function verify(token: string): Promise<JWTPayload> {
    asked.count += 1
    const { payload } = await jwtVerify(token, KEY, { currentDate: new Date(clock.nowMs), clockTolerance: 5 })
    return payload
  }
  const read = rememberTokens({ verify, maxAgeMs, clockToleranceSeconds: 5, now: () => clock.nowMs })
  return { read, clock, asked }
}

describe('a token that was verified', () => {
  it('is not verified again', async () => {
    const { read, asked } = knowing()
    const token = await sign('alice')
    expect(await read(token)).toMatchObject({ sub: 'alice' })
    expect(await read(token)).toMatchObject({ sub: 'alice' })
    expect(asked.count).toBe(1)
  })

  it('is no other user’s', async () => {
    const { read, asked } = knowing()
    for (const name of ['alice', 'bob', 'alice']) expect(await read(await sign(name))).toMatchObject({ sub: name })
    expect(asked.count).toBe(2)
  })

  it('is refused when it has run out, as if it had never been known', async () => {
    const { read, clock } = knowing()
    const token = await sign('alice')
    await read(token)
    clock.nowMs += 64_900
    expect(await read(token)).toMatchObject({ sub: 'alice' })
    clock.nowMs += 200
    await expect(read(token)).rejects.toMatchObject({ code: 'ERR_JWT_EXPIRED' })
  })

  it('is verified again after as long as a withdrawn key may count, and after a step back of the clock', async () => {
    const { read, clock, asked } = knowing({ maxAgeMs: 10_000 })
    const token = await sign('alice')
    await read(token)
    clock.nowMs += 9999
    await read(token)
    expect(asked.count).toBe(1)
    clock.nowMs += 1
    await read(token)
    expect(asked.count).toBe(2)
    clock.nowMs -= 5000
    await read(token)
    expect(asked.count).toBe(3)
  })

  it('is never one that was refused', async () => {
    const { read, asked } = knowing()
    const forged = await sign('alice', { key: new TextEncoder().encode('another-secret-than-that-of-these-tests') })
    for (let count = 0; count < 2; count += 1) await expect(read(forged)).rejects.toThrow('signature')
    expect(asked.count).toBe(2)
  })

  it('is forgotten when ten thousand others came since', async () => {
    const { read, asked } = knowing()
    const first = await sign('first')
    await read(first)
    for (let index = 0; index < 10_000; index += 1) await read(await sign(`user-${index}`))
    await read(first)
    expect(asked.count).toBe(10_002)
  }, 60_000)
})
