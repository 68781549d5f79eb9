/** The pages in a browser whose person blocks what sites store: storage then throws where it is only looked at. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type BrowserContext, chromium, type Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startServer, type TestServer } from '../support/server.ts'
import { CHROMIUM, runOperation } from './browser.ts'

/** What Chromium's own settings page writes for "block all cookies". */
const PREFERENCES = { profile: { default_content_setting_values: { cookies: 2 } } }

let server: TestServer
let folder: string
let browser: BrowserContext

beforeAll(async () => {
  server = await startServer({ PING_INTERVAL: '10s', PONG_TIMEOUT: '5s' })
  folder = await mkdtemp(join(tmpdir(), 'rollcall-blocked-'))
  await mkdir(join(folder, 'Default'))
  await writeFile(join(folder, 'Default', 'Preferences'), JSON.stringify(PREFERENCES))
  browser = await chromium.launchPersistentContext(folder, CHROMIUM)
})
afterAll(async () => {
  await browser.close()
  await server.stop()
  await rm(folder, { recursive: true, force: true })
})

async function open(path: string): Promise<{ page: Page; errors: string[] }> {
  const page = await browser.newPage()
  const errors: string[] = []
  page.on('pageerror', (error) => errors.push(String(error)))
  await page.goto(`${server.url}${path}`)
  for (const storage of ['sessionStorage', 'localStorage']) {
    await expect(page.evaluate(storage)).rejects.toThrow('SecurityError')
  }
  return { page, errors }
}

function says(page: Page, text: string): Promise<void> {
  return page.locator('#own-state').filter({ hasText: text }).waitFor()
}

describe('where storage is blocked', () => {
  it('a person signs in, goes offline, comes back and signs out', async () => {
    const { page, errors } = await open('/')
    await page.getByLabel('User id').fill('alice')
    await page.getByRole('button', { name: 'Go online' }).click()
    await says(page, 'You are shown as online.')
    await page.getByRole('button', { name: 'Go offline' }).click()
    await says(page, 'You are offline: you left.')
    await page.getByRole('button', { name: 'Come back' }).click()
    await says(page, 'You are shown as online.')
    await page.getByRole('button', { name: 'Sign out' }).click()
    await page.getByLabel('User id').waitFor()
    expect(errors).toEqual([])
  })

  it('an address signs in, and again after a reload', async () => {
    const { page, errors } = await open('/?user=bob&room=lobby')
    await says(page, 'You are shown as online.')
    await page.reload()
    await says(page, 'You are shown as online.')
    expect(await page.locator('#list-title').textContent()).toBe('In lobby')
    expect(errors).toEqual([])
  })

  it('GraphiQL opens and runs', async () => {
    const { page, errors } = await open('/graphql')
    await runOperation(page, 'Heartbeat')
    await page.locator('.graphiql-response').filter({ hasText: 'ONLINE' }).waitFor()
    expect(errors).toEqual([])
  })
})
