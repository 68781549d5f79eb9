/** Tests in a real browser: `vitest run --config vitest.browser.config.ts`. They need Chromium, and build the pages. */
import { mergeConfig } from 'vitest/config'
import base from './vitest.config.ts'

const config = mergeConfig(base, {
  test: {
    testTimeout: 60_000,
    // One browser at a time: several on a small machine only wait for each other.
    fileParallelism: false,
  },
})

// Lists are joined by the merge, and these replace the others.
delete config.test.projects
config.test.include = ['tests/browser/**/*.test.ts']
config.test.exclude = []
config.test.globalSetup = ['tests/browser/global-setup.ts']

export default config
