import { readdirSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { SettingTexts } from '../../src/config.ts'
import { startServer, type TestServer } from '../support/server.ts'

const PRODUCTION: SettingTexts = { NODE_ENV: 'production', JWT_SECRET: 'a-secret-for-tests-of-32-bytes-or-more' }

/** Of those that the build made: one has to be there, else nothing is shown by its absence. */
function anAsset(): string {
  const asset = readdirSync(new URL('../../dist/web/assets/', import.meta.url)).find((name) => name.endsWith('.js'))
  if (asset === undefined) throw new Error('The pages are not built: run `npm run build`.')
  return `/assets/${asset}`
}

describe.each<{ name: string; settings: SettingTexts; areOn: boolean }>([
  { name: 'in development', settings: {}, areOn: true },
  { name: 'in development, where they are turned off', settings: { PAGES: 'false' }, areOn: false },
  { name: 'in production', settings: PRODUCTION, areOn: false },
  { name: 'in production, where they are asked for', settings: { ...PRODUCTION, PAGES: 'true' }, areOn: true },
])('the pages $name', ({ settings, areOn }) => {
  let server: TestServer
  beforeAll(async () => {
    server = await startServer(settings)
  })
  afterAll(() => server.stop())

  /** As a browser asks for an address that somebody types. */
  const asPage = (path: string) => fetch(`${server.url}${path}`, { headers: { accept: 'text/html,*/*;q=0.8' } })

  it(areOn ? 'are there, with what they load' : 'are not there, and nothing that they load', async () => {
    for (const path of ['/', anAsset(), '/page.html']) {
      const response = await asPage(path)
      await response.body?.cancel()
      expect([path, response.status]).toEqual([path, areOn && path !== '/page.html' ? 200 : 404])
    }
  })

  it(areOn ? 'are GraphiQL at /graphql' : 'leave /graphql to the API, whatever the client would read', async () => {
    const response = await asPage('/graphql')
    const text = await response.text()
    expect([response.ok, text.includes('<html')]).toEqual([areOn, areOn])
    const asked = await asPage('/graphql?query=%7B__typename%7D')
    const answer = await asked.text()
    expect(areOn ? answer.includes('<html') : JSON.parse(answer)).toEqual(areOn || { data: { __typename: 'Query' } })
  })

  it('say nothing of whether it works: the API and the health checks are there', async () => {
    const response = await fetch(`${server.url}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{"query":"{ __typename }"}',
    })
    expect(await response.json()).toEqual({ data: { __typename: 'Query' } })
    expect((await fetch(`${server.url}/healthz`)).status).toBe(200)
  })
})
