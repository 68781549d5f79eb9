/** Tests in a real browser: `vitest run --config vitest.browser.config.ts`. They need Chromium, and build the pages. */
import { mergeConfig } from 'vitest/config'
import base from './vitest.config.ts'

/** It measures how busy the page's main thread is. */
const MEASURES = ['tests/browser/crowd.test.ts']

const config = mergeConfig(base, {
  test: {
    testTimeout: 60_000,
  },
})

// Lists are joined by the merge, and these replace the others.
config.test.globalSetup = ['tests/browser/global-setup.ts']
config.test.projects = [
  {
    extends: true,
    test: {
      name: 'browser',
      include: ['tests/browser/**/*.test.ts'],
      exclude: MEASURES,
      // Some wait for a minute. More browsers on a small machine only wait for each other.
      maxWorkers: 2,
      sequence: { groupOrder: 0 },
    },
  },
  {
    extends: true,
    test: {
      name: 'measures',
      include: MEASURES,
      maxWorkers: 1,
      sequence: { groupOrder: 1 },
    },
  },
]

export default config
