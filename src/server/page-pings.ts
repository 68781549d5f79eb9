/**
 * The graphql-transport-ws pings that one client was sent, and which of them its pongs answer.
 *
 * Only a running script answers these; a browser answers RFC 6455 pings itself, for a frozen page too. The protocol
 * lets a client omit the payload of its pong. Pongs come in the order of their pings, so a pong without payload answers
 * the oldest unanswered ping.
 */

/** Pings with a nonce that are remembered: nobody waits for the answers to older ones. */
const MAX_NONCES = 4

interface Asked {
  /** The number of the ping among all pings to this client. */
  readonly number: number
  readonly nonce: string
}

const NONE: readonly Asked[] = []

/** A class, because a node has tens of thousands of them. */
export class PagePings {
  #sentCount = 0
  #answeredCount = 0
  #asked = NONE

  /** @returns the message that asks for the nonce */
  ask(nonce: string): string {
    this.#sentCount += 1
    this.#asked = [...this.#asked, { number: this.#sentCount, nonce }].slice(-MAX_NONCES)
    return JSON.stringify({ type: 'ping', payload: { nonce } })
  }

  /** Counts a ping that was sent without a nonce. */
  sent(): void {
    this.#sentCount += 1
  }

  /** @returns the nonce of the ping that the pong answers; null if that has none, or the pong answers none of these */
  answeredBy(payload: unknown): string | null {
    const brought = nonceOf(payload)
    const answered =
      brought === null ? this.#answeredCount + 1 : this.#asked.find(({ nonce }) => nonce === brought)?.number
    // A client may send an unsolicited pong, as a heartbeat.
    if (answered === undefined || answered > this.#sentCount) return null
    this.#answeredCount = Math.max(this.#answeredCount, answered)
    const nonce = this.#asked.find(({ number }) => number === answered)?.nonce ?? null
    if (this.#asked !== NONE) this.#asked = this.#asked.filter(({ number }) => number > answered)
    if (this.#asked.length === 0) this.#asked = NONE
    return nonce
  }
}

function nonceOf(payload: unknown): string | null {
  if (typeof payload !== 'object' || payload === null || !('nonce' in payload)) return null
  return typeof payload.nonce === 'string' ? payload.nonce : null
}
