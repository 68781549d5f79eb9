import { join } from 'node:path'
import { defineConfig } from 'vitest/config'
import { BaseSequencer, type TestSpecification } from 'vitest/node'

/** They keep a core busy, or measure how late they are: one at a time, and after all others. */
const BUSY_FAULTS = [
  'tests/fault/mass-return.test.ts',
  'tests/fault/rolling-restart.test.ts',
  'tests/fault/storm.test.ts',
]
/** They watch that nothing is late, or have three processes each: few at a time. */
const TIMED_FAULTS = [
  'tests/fault/dead-node.test.ts',
  'tests/fault/fork.test.ts',
  'tests/fault/held-lock.test.ts',
  'tests/fault/hiding.test.ts',
  'tests/fault/odd-clients.test.ts',
  'tests/fault/random-faults.test.ts',
  'tests/fault/redis-away.test.ts',
  'tests/fault/stalls.test.ts',
  'tests/fault/stopped-node.test.ts',
]

/** Faults of the client kit's link: they say how soon what is shown is right. */
const KIT_FAULTS = ['tests/client/lost-link.test.ts', 'tests/client/random-faults.test.ts']

/** They count what their process has: timers, connections, memory. */
const OF_A_PROCESS = ['tests/contract/memory.test.ts', 'tests/e2e/nothing-stays.test.ts']
const TEST_WORKERS = 5

/** They wait for a minute and more: begun first, they do so beside all others. The rest go by size. */
const LONG_WAITS = [
  'tests/contract/redis-own/while-it-runs.test.ts',
  'tests/fault/flapping-link.test.ts',
  'tests/fault/host-clock.test.ts',
  'tests/fault/random-faults.test.ts',
  'tests/client/lost-link.test.ts',
  'tests/client/random-faults.test.ts',
  'tests/browser/hidden-tab.test.ts',
]

class LongWaitsFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const place = ({ moduleId }: TestSpecification) => (LONG_WAITS.some((name) => moduleId.endsWith(name)) ? 0 : 1)
    return (await super.sort(files)).sort((one, other) => place(one) - place(other))
  }
}

export default defineConfig({
  resolve: {
    alias: [
      // graphql's package has an ES and a CommonJS form: with both loaded, types of one are unknown to the other.
      { find: /^graphql$/, replacement: 'graphql/index.js' },
      // The examples have the kit as an app has it. Here that is its sources, and not what was built last.
      { find: /^@rollcall\/client$/, replacement: join(import.meta.dirname, 'client/src/index.ts') },
      { find: /^@rollcall\/client\/(\w+)$/, replacement: join(import.meta.dirname, 'client/src/$1/index.ts') },
    ],
  },
  test: {
    globalSetup: ['tests/support/global-setup.ts'],
    setupFiles: ['tests/support/property-seed.ts'],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    pool: 'forks',
    sequence: { sequencer: LongWaitsFirst },
    // Files of one worker share what they import: to load it again for each would take a fifth of the time.
    isolate: false,
    // CommonJS packages as Node itself imports them.
    deps: { interopDefault: false },
    projects: [
      {
        extends: true,
        test: {
          name: 'tests',
          include: ['tests/**/*.test.{ts,tsx}'],
          // Those of the browser and of network namespaces have configurations of their own: `npm run test:browser`,
          // `tests/network/run.sh`.
          exclude: [
            'tests/browser/**',
            'tests/fault/**',
            'tests/network/**',
            'node_modules/**',
            ...OF_A_PROCESS,
            ...KIT_FAULTS,
          ],
          // They wait for graces and processes more than they work, so more of them than cores run at once.
          maxWorkers: TEST_WORKERS,
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: {
          name: 'of-a-process',
          include: OF_A_PROCESS,
          isolate: true,
          maxWorkers: TEST_WORKERS,
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: {
          name: 'faults',
          include: ['tests/fault/**/*.test.ts', ...KIT_FAULTS],
          exclude: [...BUSY_FAULTS, ...TIMED_FAULTS],
          // They wait for leases and graces of their own processes, and leave the cores idle for most of the time.
          maxWorkers: 4,
          sequence: { groupOrder: 1 },
        },
      },
      {
        extends: true,
        test: {
          name: 'timed-faults',
          include: TIMED_FAULTS,
          maxWorkers: 2,
          // Those of one file that are marked so wait at the same time.
          maxConcurrency: 10,
          sequence: { groupOrder: 2 },
        },
      },
      {
        extends: true,
        test: {
          name: 'busy-faults',
          include: BUSY_FAULTS,
          maxWorkers: 1,
          sequence: { groupOrder: 3 },
        },
      },
    ],
  },
})
