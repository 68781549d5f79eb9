import { describe } from 'vitest'
import { connect, followOnline, heartbeat } from '../../../examples/urql/online-users.ts'
import { testClientLibrary } from './clients.ts'

describe('urql', () => {
  testClientLibrary({ connect, followOnline, heartbeat })
})
