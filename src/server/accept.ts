/** Parses the `accept` header of requests. */

/** A header that accepts any type does not name JSON. */
export function namesJson(accept: string | null): boolean {
  return /(?:^|,)\s*application\/json\s*(?:[;,]|$)/i.test(accept ?? '')
}

export function namesEventStream(accept: string | null): boolean {
  return /(?:^|,)\s*text\/event-stream\s*(?:[;,]|$)/i.test(accept ?? '')
}

/** Whether the client accepts an event stream. Without the header it accepts any type. */
export function acceptsEventStream(accept: string | null): boolean {
  return accept === null || /(?:^|,)\s*(?:text\/event-stream|text\/\*|\*\/\*)\s*(?:[;,]|$)/i.test(accept)
}

/** Whether the client accepts a stream in any format. Apollo Client names the version of its protocol. */
export function acceptsStream(accept: string | null): boolean {
  return acceptsEventStream(accept) || /\bmultipart\/mixed\b[^,]*\bsubscriptionSpec=/i.test(accept ?? '')
}
