/** Who sends a token, at the cost of the address that it comes from where it does not hold. */
import type { Caller } from '../../presence/access.ts'
import { PresenceError } from '../../presence/errors.ts'
import type { Authenticator } from '../auth.ts'
import { addressPayer, type Limits, UNITS } from './limits.ts'

export interface Admission {
  /**
   * @param authorization - `Bearer <token>` or the token itself; null where there is none
   * @param address - where the request comes from
   * @returns null without a token
   * @throws PresenceError as `Authenticator`, and `RATE_LIMITED` where too many bad tokens came from this address
   */
  authenticate(authorization: string | null, address: string): Promise<Caller | null>
}

export function createAdmission(authenticator: Authenticator, limits: Pick<Limits, 'charge' | 'spend'>): Admission {
  return {
    async authenticate(authorization, address) {
      if (authorization === null) return null
      const payer = addressPayer(address)
      // Whether it owes nothing. What a token costs is known when it was looked at.
      limits.charge(payer, 0)
      try {
        return await authenticator.authenticate(authorization)
      } catch (error) {
        if (error instanceof PresenceError && error.code === 'UNAUTHENTICATED') limits.spend(payer, UNITS.badToken)
        throw error
      }
    },
  }
}
