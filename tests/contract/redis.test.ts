import { describe } from 'vitest'
import { ruleOf } from './presence-store/harness.ts'
import { describeOrder } from './presence-store/order.ts'
import { describeWaitingHeartbeats, LAG_MS } from './presence-store/waiting-heartbeats.ts'
import { describePresenceStore } from './presence-store.ts'
import { openRedis } from './redis-harness.ts'

describePresenceStore('the Redis store', openRedis)

describe('the Redis store while it gathers heartbeats', () => {
  describeOrder(ruleOf((request) => openRedis(request, { beatFlushMs: 20 })))
})

describe('the Redis store while activity waits', () => {
  describeWaitingHeartbeats(ruleOf((request) => openRedis(request, { beatFlushMs: 5, activityLagMs: LAG_MS })))
})
