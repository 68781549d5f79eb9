/** Tests between two network namespaces: `tests/network/run.sh` makes them, and runs this inside. */
import { mergeConfig } from 'vitest/config'
import base from './vitest.config.ts'

const config = mergeConfig(base, { test: { testTimeout: 180_000, hookTimeout: 120_000 } })

// Lists are joined by the merge, and these replace the others.
delete config.test.projects
config.test.include = ['tests/network/**/*.test.ts']
config.test.exclude = []

export default config
