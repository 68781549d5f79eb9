/** From which address a request comes: the connection's own, or what a trusted proxy says of it. */
import { BlockList, isIP, isIPv6 } from 'node:net'
import { addNetwork } from '../../networks.ts'

/** Requests of a server that does not say where they come from share one address. */
const UNKNOWN = 'unknown'
/** An IPv6 customer has a /64, and may use any address of it (RFC 6177 recommends no less). */
const IPV6_GROUPS = 4

export interface Addresses {
  /**
   * @param peer - the address of the connection; null where the server does not say
   * @param forwardedFor - the header `X-Forwarded-For`
   * @returns an IPv4 address, or the first 64 bits of an IPv6 address
   */
  of(peer: string | null, forwardedFor: string | null): string
}

/**
 * @param trustedProxies - addresses and networks, `10.0.0.0/8`
 * @param onUntrusted - called once, with the address of a peer that sends `X-Forwarded-For` and is not trusted
 */
export function createAddresses(trustedProxies: readonly string[], onUntrusted: (peer: string) => void): Addresses {
  const trusted = new BlockList()
  for (const proxy of trustedProxies) addNetwork(trusted, proxy)
  let wasReported = false

  function isTrusted(address: string): boolean {
    return trusted.check(address, isIPv6(address) ? 'ipv6' : 'ipv4')
  }

  return {
    of(peer, forwardedFor) {
      if (peer === null) return UNKNOWN
      let address = plain(peer)
      if (forwardedFor === null) return grouped(address)
      if (!isTrusted(address)) {
        if (!wasReported) onUntrusted(address)
        wasReported = true
        return grouped(address)
      }
      // Each proxy appends the address that it saw: from the right, the first that is no proxy of ours is the client.
      const hops = forwardedFor.split(',')
      while (isTrusted(address)) {
        const hop = plain(hops.pop()?.trim() ?? '')
        if (isIP(hop) === 0) break
        address = hop
      }
      return grouped(address)
    },
  }
}

/** Without the port, brackets and the prefix that an IPv4 address has on a socket for both families. */
function plain(address: string): string {
  const bare = /^\[([^\]]+)\](?::\d+)?$/.exec(address)?.[1] ?? address.replace(/^(\d+\.\d+\.\d+\.\d+):\d+$/, '$1')
  return bare.replace(/^::ffff:(?=\d+\.)/i, '')
}

function grouped(address: string): string {
  if (!isIPv6(address)) return address
  const [head = '', tail] = address.split('%')[0]?.split('::') ?? []
  const first = head === '' ? [] : head.split(':')
  const last = tail === undefined || tail === '' ? [] : tail.split(':')
  const zeros = tail === undefined ? [] : Array(Math.max(0, 8 - first.length - last.length)).fill('0')
  const groups = [...first, ...zeros, ...last].map((group) => Number.parseInt(group, 16).toString(16))
  return `${groups.slice(0, IPV6_GROUPS).join(':')}::/64`
}
