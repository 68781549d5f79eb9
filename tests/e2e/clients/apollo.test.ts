import { afterAll, beforeAll, describe, vi } from 'vitest'
import { WebSocket } from 'ws'
import { connect, followOnline, heartbeat } from '../../../examples/apollo/online-users.ts'
import { testClientLibrary } from './clients.ts'

describe('Apollo Client', () => {
  // Its link needs the global class to tell errors apart: docs/clients.md. Node has one since 22.
  beforeAll(() => void vi.stubGlobal('WebSocket', WebSocket))
  afterAll(() => void vi.unstubAllGlobals())
  testClientLibrary({ connect, followOnline, heartbeat })
})
