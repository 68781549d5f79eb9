import { describe } from 'vitest'
import { connect, followOnline, heartbeat } from '../../../examples/apollo/online-users.ts'
import { testClientLibrary } from './clients.ts'

describe('Apollo Client', () => {
  testClientLibrary({ connect, followOnline, heartbeat })
})
