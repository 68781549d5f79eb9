import { serverAudits } from 'graphql-http'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startServer, type TestServer } from '../support/server.ts'

/** The audits are listed before there is a server, and ask for its address when they run. */
let server: TestServer | null = null
const audits = serverAudits({
  url: () => `${server?.url}/graphql`,
  fetchFn: (url: string, init: RequestInit = {}) =>
    fetch(url, { ...init, headers: { ...init.headers, authorization: 'Bearer dev:alice' } }),
})

describe('GraphQL over HTTP', () => {
  beforeAll(async () => {
    server = await startServer()
  })
  afterAll(() => server?.stop())

  it('is audited in full', () => {
    expect(audits).toHaveLength(61)
  })

  it.each(audits.map(({ id, name, fn }) => [id, name, fn] as const))('%s: %s', async (_id, _name, audit) => {
    expect(await audit()).toMatchObject({ status: 'ok' })
  })
})
