/** Addresses and networks of IP, as settings name them: `192.0.2.7`, `10.0.0.0/8`, `2001:db8::/32`. */
import { BlockList, isIPv6 } from 'node:net'

/** @throws where it is neither an address nor a network */
export function addNetwork(list: BlockList, text: string): void {
  const [address = '', prefix, ...rest] = text.split('/')
  const family = isIPv6(address) ? 'ipv6' : 'ipv4'
  if (prefix === undefined) {
    list.addAddress(address, family)
    return
  }
  if (rest.length > 0 || !/^\d{1,3}$/.test(prefix)) throw new RangeError(`${text} is no network.`)
  list.addSubnet(address, Number(prefix), family)
}

export function isNetwork(text: string): boolean {
  try {
    addNetwork(new BlockList(), text)
    return true
  } catch {
    return false
  }
}
