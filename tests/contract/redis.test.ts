import { describePresenceStore } from './presence-store.ts'
import { openRedis } from './redis-harness.ts'

describePresenceStore('the Redis store', openRedis)
