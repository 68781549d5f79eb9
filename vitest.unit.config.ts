/** Tests that need no server and no package of the system: `npm run test:unit`, in seconds. */
import { mergeConfig } from 'vitest/config'
import base from './vitest.config.ts'

const config = mergeConfig(base, { test: { testTimeout: 10_000 } })

// Lists are joined by the merge, and these replace the others.
delete config.test.projects
delete config.test.globalSetup
config.test.include = ['tests/unit/**/*.test.ts']

export default config
