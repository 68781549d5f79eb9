/** Tokens of an issuer that shares a secret with the server. */
import { SignJWT } from 'jose'

/** For `JWT_SECRET`. */
export const SECRET = 'a-secret-of-32-bytes-or-more-for-tests'

/** @param claims - beside `iat` and `exp` */
export function sign(claims: Record<string, unknown>, expiresIn = '1h', issuedAt?: Date): Promise<string> {
  return new SignJWT(claims)
    .setProtectedHeader({ alg: 'HS256' })
    .setIssuedAt(issuedAt)
    .setExpirationTime(expiresIn)
    .sign(new TextEncoder().encode(SECRET))
}
