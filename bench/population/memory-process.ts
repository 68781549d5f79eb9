/** The process of memory.ts: whatever other benchmarks left in a heap is no part of what it measures. */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { measureDeparture, measureLogs, measureRestart } from './bulk.ts'
import { type Comparison, compare } from './compare.ts'
import { acknowledge, attachRequest, fill, type ManualCrowd, openCrowd, ROOM, randomId } from './crowd.ts'
import type { MemoryFigures } from './memory.ts'
import { measureQuery, measureReads } from './reads.ts'
import { DUE_KINDS, measureInBackground, measureSweep, type SweepFigures } from './sweeps.ts'
import { startIdleProcess, watchGc } from './waiting.ts'

const SMALL = 1000
const MIDDLE = 20_000
const FEW_DUE = 1000
const MANY_DUE = 10_000
const ROUNDS = 7

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

// Nobody waits for it any more.
process.once('disconnect', () => process.exit())
process.once('message', (users) => {
  measure(Number(users)).then(
    (figures) => process.send?.(figures, () => process.disconnect()),
    (error) => {
      throw error
    },
  )
})

async function measure(users: number): Promise<MemoryFigures> {
  const small = openCrowd()
  await fill(small, SMALL)
  const middle = openCrowd()
  await fill(middle, MIDDLE)
  const large = openCrowd()
  const filling = await measureFilling(large, users)

  const reads = []
  for (const room of [null, ROOM]) {
    reads.push(await measureReads({ small, large }, room, { rounds: ROUNDS, callsARound: 2000 }))
  }
  const query = await measureQuery({ small, large }, { rounds: ROUNDS, callsARound: 300 })
  const attach = await measureAttach(small, large)

  const sweeps: SweepFigures[] = []
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const kind of DUE_KINDS) {
      sweeps.push(
        await measureSweep(large, kind, FEW_DUE),
        await measureSweep(middle, kind, MANY_DUE),
        await measureSweep(large, kind, MANY_DUE),
      )
    }
  }
  const idle = await startIdleProcess()
  const background = []
  for (const kind of DUE_KINDS) background.push(await measureInBackground(large, kind, MANY_DUE, idle))
  idle.stop()

  const bulk = [...(await measureLogs(large)), ...(await measureDeparture(large))]
  const restarted = openCrowd()
  bulk.push(...(await measureRestart(restarted, users)))
  return { users, filling, reads, query, attach, sweeps, background, bulk }
}

async function measureFilling(crowd: ManualCrowd, users: number): Promise<MemoryFigures['filling']> {
  collectGarbage()
  const before = process.memoryUsage()
  const gcPauses = watchGc()
  const filled = await fill(crowd, users)
  const gc = await gcPauses()
  collectGarbage()
  const after = process.memoryUsage()
  return {
    heapBytesAUser: (after.heapUsed - before.heapUsed) / users,
    residentBytesAUser: (after.rss - before.rss) / users,
    ...filled,
    gc,
  }
}

/** A new user starts a session, and leaves without being measured. */
function measureAttach(small: ManualCrowd, large: ManualCrowd): Promise<Comparison> {
  const started: { crowd: ManualCrowd; userId: string }[] = []
  const attachTo = (crowd: ManualCrowd) => async () => {
    const userId = randomId()
    started.push({ crowd, userId })
    await crowd.store.attach(attachRequest(userId))
  }
  return compare(
    { small: attachTo(small), large: attachTo(large) },
    {
      rounds: ROUNDS,
      callsARound: 1000,
      async afterRound() {
        for (const { crowd, userId } of started.splice(0)) {
          await crowd.store.end({ userId, sessionId: null, fence: null, reason: 'WENT_OFFLINE' })
        }
        for (const { store } of [small, large]) await acknowledge(store)
      },
    },
  )
}
