/** The address that a request comes from: the connection's own, or the one that a trusted proxy reports. */
import { BlockList, isIP, isIPv6 } from 'node:net'
import { addNetwork } from '../../networks.ts'

/** The one address for all requests of a server that does not report where they come from. */
const UNKNOWN = 'unknown'
/** An IPv6 customer has a /64 and may use any address in it (RFC 6177 recommends no less). */
const IPV6_GROUPS = 4

/** Where a request comes from. */
export interface Origin {
  /** An IPv4 address, or the first 64 bits of an IPv6 address. */
  readonly address: string
  /**
   * Whether the address stands for many callers who cannot be told apart: a proxy that the settings do not name, or a
   * server that does not report addresses. One caller could lock out all others, so what comes from it is not counted.
   */
  readonly isShared: boolean
}

export interface Addresses {
  /**
   * @param peer - the address of the connection; null if the server does not report it
   * @param forwardedFor - the header `X-Forwarded-For`
   */
  of(peer: string | null, forwardedFor: string | null): Origin
}

/** Networks where the operator's own proxy may be, and no internet host is (RFC 1918, 4193, 6598 and loopback). */
const PRIVATE_NETWORKS = [
  '127.0.0.0/8',
  '10.0.0.0/8',
  '172.16.0.0/12',
  '192.168.0.0/16',
  '100.64.0.0/10',
  '::1',
  'fc00::/7',
]

/**
 * @param trustedProxies - addresses and networks, such as `10.0.0.0/8`
 * @param onUntrusted - called once, with the address of a peer that sends `X-Forwarded-For` and is not trusted
 */
export function createAddresses(trustedProxies: readonly string[], onUntrusted: (peer: string) => void): Addresses {
  const trusted = listOf(trustedProxies)
  const privates = listOf(PRIVATE_NETWORKS)
  let wasReported = false

  return {
    of(peer, forwardedFor) {
      if (peer === null) return { address: UNKNOWN, isShared: true }
      let address = plain(peer)
      if (forwardedFor === null) return { address: grouped(address), isShared: false }
      if (!isIn(trusted, address)) {
        if (!wasReported) onUntrusted(address)
        wasReported = true
        return { address: grouped(address), isShared: isIn(privates, address) }
      }
      // Each proxy appends the address that it saw: from the right, the first that is not our proxy is the client.
      const hops = forwardedFor.split(',')
      while (isIn(trusted, address)) {
        const hop = plain(hops.pop()?.trim() ?? '')
        if (isIP(hop) === 0) break
        address = hop
      }
      return { address: grouped(address), isShared: false }
    },
  }
}

function listOf(networks: readonly string[]): BlockList {
  const list = new BlockList()
  for (const network of networks) addNetwork(list, network)
  return list
}

function isIn(list: BlockList, address: string): boolean {
  return list.check(address, isIPv6(address) ? 'ipv6' : 'ipv4')
}

/** Strips the port, brackets and the prefix that an IPv4 address has on a socket for both families. */
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
