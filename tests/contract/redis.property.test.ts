import { describePresenceStoreProperties } from './presence-store.property.ts'
import { openRedis } from './redis-harness.ts'

describePresenceStoreProperties('the Redis store under random histories', openRedis, {
  stepMs: 100,
  runs: 40,
  mostCommands: 60,
  pausesAfterStep: true,
})
