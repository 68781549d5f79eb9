import { openMemory } from './memory-harness.ts'
import { describePresenceStoreProperties } from './presence-store.property.ts'

describePresenceStoreProperties('the memory store under random histories', openMemory, {
  stepMs: 100,
  runs: 300,
  mostCommands: 60,
  pausesAfterStep: false,
})
