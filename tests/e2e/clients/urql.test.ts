import { describe } from 'vitest'
import { type App, connect, followOnline } from '../../../examples/urql/online-users.ts'
import { testClientLibrary } from './clients.ts'

describe("urql, by the kit's binding", () => {
  testClientLibrary<App>({
    connect: (options) => {
      const app = connect(options)
      return { client: app, close: app.close }
    },
    followOnline,
  })
})
