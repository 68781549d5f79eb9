import { describe } from 'vitest'
import { ruleOf } from './presence-store/harness.ts'
import { describeOrder } from './presence-store/order.ts'
import { describePresenceStore } from './presence-store.ts'
import { openRedis } from './redis-harness.ts'

describePresenceStore('the Redis store', openRedis)

describe('the Redis store while it gathers heartbeats', () => {
  describeOrder(ruleOf((request) => openRedis(request, { beatFlushMs: 20 })))
})
