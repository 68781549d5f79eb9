/**
 * The contract of the PresenceStore port: one suite for every adapter, which hands over `open` and nothing else.
 *
 * Its tests are tolerant in moments, for on some stores time is real: they compare moments with the store's own
 * answers, and leave room around every deadline. tests/contract/memory.test.ts looks at deadlines to the millisecond.
 */
import { describe } from 'vitest'
import { describeActivity } from './presence-store/activity.ts'
import { describeAdoption } from './presence-store/adoption.ts'
import { describeChangeLog } from './presence-store/change-log.ts'
import { describeClock } from './presence-store/clock.ts'
import { describeComebacks } from './presence-store/comebacks.ts'
import { describeDismissals } from './presence-store/dismissals.ts'
import { describeForgetting } from './presence-store/forgetting.ts'
import { type Open, ruleOf } from './presence-store/harness.ts'
import { describeHeartbeats } from './presence-store/heartbeats.ts'
import { describeLastSeen } from './presence-store/last-seen.ts'
import { describeLists } from './presence-store/lists.ts'
import { describeManyRooms } from './presence-store/many-rooms.ts'
import { describeNodes } from './presence-store/nodes.ts'
import { describeOrder } from './presence-store/order.ts'
import { describeRecords } from './presence-store/records.ts'
import { describeRooms } from './presence-store/rooms.ts'
import { describeSessions } from './presence-store/sessions.ts'
import { describeSockets } from './presence-store/sockets.ts'
import { describeStops } from './presence-store/stops.ts'
import { describeTakeovers } from './presence-store/takeovers.ts'
import { describeViewers } from './presence-store/viewers.ts'
import { describeVisibility } from './presence-store/visibility.ts'
import { describeWaitingHeartbeats } from './presence-store/waiting-heartbeats.ts'

export function describePresenceStore(name: string, open: Open): void {
  const rule = ruleOf(open)
  describe(name, () => {
    describeSessions(rule)
    describeSockets(rule)
    describeHeartbeats(rule)
    describeWaitingHeartbeats(rule)
    describeTakeovers(rule)
    describeActivity(rule)
    describeRooms(rule)
    describeManyRooms(rule)
    describeVisibility(rule)
    describeLastSeen(rule)
    describeLists(rule)
    describeChangeLog(rule)
    describeViewers(rule)
    describeRecords(rule)
    describeAdoption(rule)
    describeNodes(rule)
    describeStops(rule)
    describeComebacks(rule)
    describeDismissals(rule)
    describeForgetting(rule)
    describeClock(rule)
    describeOrder(rule)
  })
}
