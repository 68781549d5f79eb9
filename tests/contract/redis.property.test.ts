import type { Open } from './presence-store/harness.ts'
import { describePresenceStoreProperties } from './presence-store.property.ts'
import { openRedis } from './redis-harness.ts'

// Some beats go at once, and those that follow shortly are gathered. Log entries list the rooms of who is in one, and
// not of who is in two.
const openGathering: Open = (request) => openRedis(request, { beatFlushMs: 5, listedRoomBytes: 1 })

describePresenceStoreProperties('the Redis store under random histories', openGathering, {
  stepMs: 100,
  runs: 40,
  mostCommands: 60,
  pausesAfterStep: true,
})

const STEP_MS = 100
const ACTIVITY_LAG = 1.5
const openLagging: Open = (request) => openRedis(request, { beatFlushMs: 5, activityLagMs: ACTIVITY_LAG * STEP_MS })

describePresenceStoreProperties('the Redis store under random histories, while activity waits', openLagging, {
  stepMs: STEP_MS,
  runs: 40,
  mostCommands: 60,
  pausesAfterStep: true,
  activityLag: ACTIVITY_LAG,
})
