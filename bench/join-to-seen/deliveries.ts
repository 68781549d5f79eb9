/** What the subscribers of one process were told, in the order of arrival: as columns, for there are a million of them. */
import type { News } from './system.ts'

const KIND_CODES = ['JOIN', 'LEAVE', 'OTHER'] as const satisfies readonly News['kind'][]

export interface Deliveries {
  readonly subscribers: Uint32Array
  /** -1: nobody whom the workload knows. */
  readonly users: Int32Array
  readonly kindCodes: Uint8Array
  /** NaN: not numbered. */
  readonly orders: Float64Array
  /** When it was parsed, by the machine's monotonic clock. */
  readonly atMs: Float64Array
  /** What came when there was no room any more: far more than expected. */
  readonly unkeptCount: number
}

export interface DeliveryRecorder {
  add(delivery: {
    readonly subscriber: number
    readonly user: number
    readonly kind: News['kind']
    readonly order: number | null
    readonly atMs: number
  }): void
  count(): number
  taken(): Deliveries
}

export function kindOf(code: number): News['kind'] {
  return KIND_CODES[code] ?? 'OTHER'
}

export function createDeliveryRecorder(capacity: number): DeliveryRecorder {
  const subscribers = new Uint32Array(capacity)
  const users = new Int32Array(capacity)
  const kindCodes = new Uint8Array(capacity)
  const orders = new Float64Array(capacity)
  const atMs = new Float64Array(capacity)
  let count = 0
  let unkeptCount = 0
  return {
    add(delivery) {
      if (count === capacity) {
        unkeptCount += 1
        return
      }
      subscribers[count] = delivery.subscriber
      users[count] = delivery.user
      kindCodes[count] = KIND_CODES.indexOf(delivery.kind)
      orders[count] = delivery.order ?? Number.NaN
      atMs[count] = delivery.atMs
      count += 1
    },
    count: () => count + unkeptCount,
    taken: () => ({
      subscribers: subscribers.slice(0, count),
      users: users.slice(0, count),
      kindCodes: kindCodes.slice(0, count),
      orders: orders.slice(0, count),
      atMs: atMs.slice(0, count),
      unkeptCount,
    }),
  }
}
