/** Everything lies below BASE_PATH, and nothing beside it. */
import { readdirSync } from 'node:fs'
import express from 'express'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { Rollcall } from '../../src/app.ts'
import { closeTabs, openTab, post } from '../support/clients.ts'
import { createReadLog } from '../support/log.ts'
import { type Mounted, mounted } from '../support/mounted.ts'
import { askRaw } from '../support/raw-http.ts'
import { startRollcall } from '../support/server.ts'

const { log, lines } = createReadLog()
let rollcall: Rollcall
let drop: () => Promise<void>
let server: Mounted

beforeAll(async () => {
  ;({ rollcall, drop } = await startRollcall({ BASE_PATH: '/a/presence/', METRICS_TOKEN: 'a-token' }, log))
  server = await mounted(rollcall, (request, response) => void rollcall.handle(request, response))
})
afterEach(closeTabs)
afterAll(async () => {
  await server.stop()
  await rollcall.close()
  await drop()
})

const asset = `/assets/${readdirSync(new URL('../../dist/web/assets/', import.meta.url))[0]}`
const GETS = ['/', '/healthz', '/readyz', '/metrics', '/graphql?query=%7B__typename%7D', asset]

function get(path: string): Promise<Response> {
  return fetch(`${server.url}${path}`, { redirect: 'manual', headers: { authorization: 'Bearer a-token' } })
}

async function statusOf(path: string): Promise<number> {
  const response = await get(path)
  await response.body?.cancel()
  return response.status
}

describe('with BASE_PATH', () => {
  it.each(GETS)('%s is below it, and nowhere else', async (path) => {
    const isApi = path.startsWith('/graphql')
    // `a-token` is no token of a user's.
    expect(await statusOf(`/a/presence${path}`)).toBe(isApi ? 401 : 200)
    for (const base of ['', '/a', '/presence', '/a/presences', '/a/presence/a/presence', '/A/presence']) {
      expect([base, await statusOf(`${base}${path}`)]).toEqual([base, 404])
    }
  })

  it('the page is at the path with a slash, because what it loads is named relative to it', async () => {
    const response = await get('/a/presence?user=alice')
    expect([response.status, response.headers.get('location')]).toEqual([308, '/a/presence/?user=alice'])
    for (const path of ['/a/presence/', '/a/presence/graphql']) {
      const page = await (await fetch(`${server.url}${path}`, { headers: { accept: 'text/html' } })).text()
      expect([path, page.includes('<html'), /(?:src|href)="\//.test(page)]).toEqual([path, true, false])
    }
  })

  it('the API answers requests and sockets there', async () => {
    const below = { url: `${server.url}/a/presence`, wsUrl: `${server.url.replace('http', 'ws')}/a/presence/graphql` }
    expect((await post(below, 'dev:alice', '{ viewer { id } }')).data?.viewer.id).toBe('viewer:alice')
    const tab = await openTab(below, 'alice')
    expect(await tab.ask('{ viewer { id } }')).toEqual({ data: { viewer: { id: 'viewer:alice' } } })
  })

  it('a target with another host, or none, is found as well', async () => {
    const ask = (target: string) => askRaw(server, `GET ${target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`)
    expect((await ask('http://b.example/a/presence/healthz')).status).toBe(200)
    expect((await ask('http://b.example/healthz')).status).toBe(404)
  })
})

describe('in Express with BASE_PATH', () => {
  it.each([
    ['mounted at the root', () => express().use(rollcall.handle)],
    ['mounted at BASE_PATH', () => express().use('/a/presence', rollcall.handle)],
    ['in a router at a part of it', () => express().use('/a', express.Router().use('/presence', rollcall.handle))],
    ['after a body parser', () => express().use(express.json()).use('/a/presence', rollcall.handle)],
  ])('all of it is where it is without Express: %s', async (_name, create) => {
    const app = create().use((request, response) => {
      response.status(404).send(`theirs: ${request.url}`)
    })
    const mountedApp = await mounted(rollcall, app)
    try {
      const below = {
        url: `${mountedApp.url}/a/presence`,
        wsUrl: mountedApp.wsUrl.replace('/graphql', '/a/presence/graphql'),
      }
      expect((await post(below, 'dev:alice', '{ viewer { id } }')).data?.viewer.id).toBe('viewer:alice')
      expect((await (await openTab(below, 'alice')).ask('{ viewer { id } }')).data).toEqual({
        viewer: { id: 'viewer:alice' },
      })
      for (const path of ['/', '/healthz', asset]) expect((await fetch(`${below.url}${path}`)).status).toBe(200)
      expect((await fetch(below.url, { redirect: 'manual' })).status).toBe(308)
      // The next handler sees the address as it came.
      expect(await (await fetch(`${mountedApp.url}/graphql`)).text()).toBe('theirs: /graphql')
      expect(lines.filter((line) => line.includes('set BASE_PATH'))).toEqual([])
    } finally {
      await mountedApp.stop()
    }
  })
})
