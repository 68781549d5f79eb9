/** Authenticates callers, and charges failed attempts: to the user if the signature is valid, else to the address. */
import type { Caller } from '../../presence/access.ts'
import { PresenceError } from '../../presence/errors.ts'
import { type Authenticator, type Credentials, subjectOfRefused } from '../auth.ts'
import type { Origin } from './addresses.ts'
import { addressPayer, type Limits, UNITS } from './limits.ts'

export interface Admission {
  /** Whether a socket keeps its request until it is authenticated. */
  readonly readsRequests: boolean
  /**
   * @param origin - where the request comes from
   * @returns null without credentials
   * @throws PresenceError as `Authenticator`, and `RATE_LIMITED` after too many bad tokens from this address
   */
  authenticate(credentials: Credentials, origin: Origin): Promise<Caller | null>
}

export function createAdmission(authenticator: Authenticator, limits: Pick<Limits, 'charge' | 'spend'>): Admission {
  return {
    readsRequests: authenticator.readsRequests,

    async authenticate(credentials, origin) {
      if (!authenticator.mayHave(credentials)) return null
      const payer = addressPayer(origin)
      // Refuses an address that is in debt. The cost of a token is known after its check.
      limits.charge(payer, 0)
      try {
        return await authenticator.authenticate(credentials)
      } catch (error) {
        if (error instanceof PresenceError && error.code === 'UNAUTHENTICATED') {
          // An expired token is charged to its user: an office that comes back in the morning sends hundreds.
          const userId = subjectOfRefused(error)
          limits.spend(userId === null ? payer : { ...payer, userId }, UNITS.badToken)
        }
        throw error
      }
    },
  }
}
