/** Runs embedded-worker.ts from source, because a thread cannot load TypeScript by itself. Not part of the build. */
import { register } from 'tsx/esm/api'

register()
await import('./embedded-worker.ts')
