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
