/** Web origins, as browsers send them and as settings name them. */

/** Whether an origin is one of the setting's. Both are normalised. */
export type OriginPattern = (origin: WebOrigin) => boolean

export interface WebOrigin {
  /** Scheme, host and port in lower case, without a default port: `https://app.example.com`. */
  readonly text: string
  /** The parts of the same; null for the opaque origin `null`. */
  readonly url: URL | null
}

const FORMS =
  'origins like `https://app.example.com`, `https://*.example.com`, `capacitor://localhost` or `null`, with commas between'
const WEB_SCHEMES = ['http:', 'https:']

/** @returns null if a browser would not send this as an origin */
export function parseOrigin(text: string): WebOrigin | null {
  // What sandboxed frames and pages from files send: it is equal to no other origin, so it is compared as a text.
  if (text === 'null') return { text, url: null }
  if (!/^[a-z][a-z\d+.-]*:\/\/[^/]/i.test(text) || !URL.canParse(text)) return null
  const url = new URL(text)
  // `URL` gives schemes that it does not know no origin, and leaves their hosts as they are written.
  const origin = WEB_SCHEMES.includes(url.protocol) ? url.origin : `${url.protocol}//${url.host.toLowerCase()}`
  return { text: origin, url }
}

/**
 * Parses one origin of ALLOWED_ORIGINS. A `*` stands for one or more characters of the host's first label.
 *
 * @throws RangeError that says what is wrong with it: its message goes on from the setting's name
 */
export function parseOriginPattern(text: string): OriginPattern {
  const origin = parseOrigin(text)
  if (origin === null) throw refused(text, reasonOf(text))
  const { url } = origin
  if (url === null) return ({ text: other }) => other === 'null'
  if (url.username !== '' || url.password !== '') throw refused(text, 'an origin has no user and no password')
  if (!['', '/'].includes(url.pathname) || /[?#]/.test(text)) throw refused(text, 'an origin has no path')
  if (['ws:', 'wss:'].includes(url.protocol)) throw refused(text, "it is the page's address that counts: `https://`")
  if (url.protocol === 'file:') throw refused(text, 'the origin of pages from files is `null`')
  if (!url.host.includes('*')) return ({ text: other }) => other === origin.text
  return wildcard(text, url)
}

function wildcard(text: string, { protocol, hostname, port }: URL): OriginPattern {
  if (!WEB_SCHEMES.includes(protocol)) throw refused(text, 'only `http` and `https` may have a `*`')
  const { label, parent } = splitHost(hostname)
  const [start = '', end = '', ...more] = label.split('*')
  if (parent.includes('*') || more.length > 0)
    throw refused(text, "only the host's first label may have a `*`, and one")
  if (!parent.includes('.') && parent !== 'localhost')
    throw refused(text, 'a `*` must stand before a domain of two labels')
  return ({ url }) => {
    if (url === null || url.protocol !== protocol || url.port !== port) return false
    const host = splitHost(url.hostname)
    return (
      host.parent === parent &&
      host.label.length > start.length + end.length &&
      host.label.startsWith(start) &&
      host.label.endsWith(end)
    )
  }
}

function splitHost(hostname: string): { readonly label: string; readonly parent: string } {
  const [label = '', ...rest] = hostname.split('.')
  return { label, parent: rest.join('.') }
}

function reasonOf(text: string): string {
  if (text === '*') return 'it would allow every page there is'
  if (!text.includes('://')) return `it has no scheme: \`https://${text}\``
  return 'no page has it'
}

function refused(text: string, reason: string): RangeError {
  return new RangeError(`must be ${FORMS}, not \`${text}\`: ${reason}.`)
}
