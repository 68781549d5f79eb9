/** Tokens as Rollcall takes them by JWT_SECRET; every peer checks them with the same library in the same way. */
import { jwtVerify, SignJWT } from 'jose'

export interface Claims {
  readonly id: string
  readonly name: string
  /** Left out of most: an address of any length. */
  readonly picture?: string
}

/** Longer than any run. */
const LIFETIME = '12h'

export function signToken({ id, ...profile }: Claims, secret: string): Promise<string> {
  return new SignJWT(profile)
    .setProtectedHeader({ alg: 'HS256' })
    .setSubject(id)
    .setIssuedAt()
    .setExpirationTime(LIFETIME)
    .sign(new TextEncoder().encode(secret))
}

/** @returns a function that throws where a token, or the `Bearer <token>` of a header, does not hold */
export function createVerifier(secret: string): (token: unknown) => Promise<Claims> {
  const key = new TextEncoder().encode(secret)
  return async (token) => {
    const { payload } = await jwtVerify(String(token).replace(/^Bearer /, ''), key, {
      algorithms: ['HS256'],
      requiredClaims: ['sub', 'iat', 'exp'],
    })
    return { id: String(payload.sub), name: String(payload.name) }
  }
}
