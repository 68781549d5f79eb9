import { defineConfig } from 'vitest/config'

export default defineConfig({
  // graphql's package has an ES and a CommonJS form: with both loaded, types of one are unknown to the other.
  resolve: { alias: [{ find: /^graphql$/, replacement: 'graphql/index.js' }] },
  test: {
    include: ['tests/**/*.test.ts'],
    // They need a browser: `npm run test:browser`.
    exclude: ['tests/browser/**', 'node_modules/**'],
    globalSetup: ['tests/support/global-setup.ts'],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    pool: 'forks',
    // The tests wait for graces and processes more than they work, so more of them than cores run at once.
    maxWorkers: 4,
    // CommonJS packages as Node itself imports them.
    deps: { interopDefault: false },
  },
})
