import { defineConfig } from 'vitest/config'

const BUSY_FAULTS = [
  'tests/fault/dead-node.test.ts',
  'tests/fault/fork.test.ts',
  'tests/fault/mass-return.test.ts',
  'tests/fault/odd-clients.test.ts',
  'tests/fault/random-faults.test.ts',
  'tests/fault/redis-away.test.ts',
  'tests/fault/rolling-restart.test.ts',
  'tests/fault/stalls.test.ts',
  'tests/fault/stopped-node.test.ts',
  'tests/fault/storm.test.ts',
]

export default defineConfig({
  // graphql's package has an ES and a CommonJS form: with both loaded, types of one are unknown to the other.
  resolve: { alias: [{ find: /^graphql$/, replacement: 'graphql/index.js' }] },
  test: {
    globalSetup: ['tests/support/global-setup.ts'],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    pool: 'forks',
    // CommonJS packages as Node itself imports them.
    deps: { interopDefault: false },
    projects: [
      {
        extends: true,
        test: {
          name: 'tests',
          include: ['tests/**/*.test.ts'],
          // Those of the browser and of network namespaces have configurations of their own: `npm run test:browser`,
          // `tests/network/run.sh`.
          exclude: ['tests/browser/**', 'tests/fault/**', 'tests/network/**', 'node_modules/**'],
          // They wait for graces and processes more than they work, so more of them than cores run at once.
          maxWorkers: 4,
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: {
          name: 'faults',
          include: ['tests/fault/**/*.test.ts'],
          exclude: BUSY_FAULTS,
          // They wait for leases and graces of their own processes, and none measures how late the others make it.
          maxWorkers: 3,
          sequence: { groupOrder: 1 },
        },
      },
      {
        extends: true,
        test: {
          name: 'busy-faults',
          include: BUSY_FAULTS,
          // Each keeps the cores busy, or measures how late it is: one at a time, and after the others.
          maxWorkers: 1,
          // Those of one file that are marked so wait at the same time.
          maxConcurrency: 10,
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
})
