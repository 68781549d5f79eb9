/** What a tab shows first: Alice and Bob side by side, each by a session of their own. */
import type { Locator, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { closeTabs, openTab, post } from '../support/clients.ts'
import { startServer, type TestServer } from '../support/server.ts'
import { SECRET, sign } from '../support/tokens.ts'
import { until } from '../support/wait.ts'
import { browserForTests, DESKTOP, isTooWide, PHONE, shoot, violations } from './browser.ts'

const browser = browserForTests()
let server: TestServer

beforeAll(async () => {
  server = await startServer({ PING_INTERVAL: '10s', PONG_TIMEOUT: '5s', CLOSE_GRACE: '3s', RECONNECT_GRACE: '3s' })
})
afterAll(async () => {
  closeTabs()
  await server.stop()
})

interface TwoPeople {
  readonly page: Page
  readonly alice: Locator
  readonly bob: Locator
  readonly aliceId: string
  readonly bobId: string
}

async function open(url = server.url, options = {}): Promise<TwoPeople> {
  return people(await browser.open(url, options))
}

async function people(page: Page): Promise<TwoPeople> {
  const [alice, bob] = [page.locator('.panel').nth(0), page.locator('.panel').nth(1)]
  await sees(alice, 'Online')
  await sees(bob, 'Online')
  const suffix = (await alice.locator('h3 .suffix').textContent())?.trim()
  return { page, alice, bob, aliceId: `alice-${suffix}`, bobId: `bob-${suffix}` }
}

/** What a panel shows of the other one: the first row. */
function sees(panel: Locator, text: string): Promise<void> {
  return panel.locator('.seen li').first().filter({ hasText: text }).waitFor()
}

function says(panel: Locator, text: string): Promise<void> {
  return panel.locator('.own-state').filter({ hasText: text }).waitFor()
}

async function sessions(userId: string): Promise<string[]> {
  const { data } = await post(server, `dev:${userId}`, '{ viewer { sessions { id } } }')
  return data?.viewer.sessions.map(({ id }: { id: string }) => id)
}

describe('the first sight of the page', () => {
  it('is two people, and a click on one side is seen on the other', async () => {
    const { alice, bob, aliceId, bobId } = await open()
    expect(await alice.locator('h3').textContent()).toContain('Alice')
    expect(await bob.locator('h3').textContent()).toContain('Bob')
    expect([await sessions(aliceId), await sessions(bobId)].map(({ length }) => length)).toEqual([1, 1])
    await alice.getByLabel('Busy').check()
    await sees(bob, 'Busy')
    await says(alice, 'You are shown as busy.')
    await alice.getByLabel('Message').fill('In a meeting')
    await alice.getByRole('button', { name: 'Set' }).click()
    await sees(bob, 'In a meeting')
    // The other side is somebody else.
    await says(bob, 'You are shown as online.')
    await sees(alice, 'Online')
  })

  it('shows who appears offline as offline, and who is back', async () => {
    const { alice, bob } = await open()
    await alice.getByRole('button', { name: 'Appear offline' }).click()
    await sees(bob, 'Offline')
    await says(alice, 'You are hidden')
    await alice.getByRole('button', { name: 'Show me again' }).click()
    await sees(bob, 'Online')
  })

  it('shows second by second what others see of a link that is cut, and mends it', async () => {
    const { alice, bob, aliceId } = await open()
    const before = await sessions(aliceId)
    await alice.getByRole('button', { name: 'Cut the link' }).click()
    await alice.locator('.cut').filter({ hasText: 'Bob still sees Alice as online' }).waitFor()
    await sees(bob, 'Online')
    await says(alice, 'No connection.')
    await alice.locator('.freshness').filter({ hasText: 'Stale since' }).waitFor()
    await alice
      .locator('.link')
      .filter({ hasText: /Trying again in \d+ s/ })
      .waitFor()
    // It is still cut.
    await alice.getByRole('button', { name: 'Try now' }).click()
    await alice
      .locator('.link')
      .filter({ hasText: /Trying again in \d+ s/ })
      .waitFor()
    await sees(bob, 'Offline')
    await alice
      .locator('.cut')
      .filter({ hasText: /Bob sees Alice as offline, \d s after the cut\./ })
      .waitFor()
    expect(await alice.locator('.ticks [data-seen=true]').count()).toBeGreaterThanOrEqual(3)
    await alice.getByRole('button', { name: 'Mend the link' }).click()
    await sees(bob, 'Online')
    await says(alice, 'You are shown as online.')
    await alice.locator('.freshness').filter({ hasText: 'Live' }).waitFor()
    expect(await alice.locator('.cut').count()).toBe(0)
    expect(await sessions(aliceId)).toEqual(before)
  })

  it('is no coming and going for others when the tab is reloaded', async () => {
    const { page, aliceId, bobId } = await open()
    const observer = await openTab(server, 'observer', { observer: true })
    const changes = observer.follow()
    const before = [await sessions(aliceId), await sessions(bobId)]
    for (let round = 0; round < 3; round += 1) {
      await page.reload()
      await people(page)
    }
    expect([await sessions(aliceId), await sessions(bobId)]).toEqual(before)
    expect(changes.filter(({ user }) => user.id === aliceId || user.id === bobId)).toEqual([])
  })

  it('leaves who went offline alone when the tab is reloaded', async () => {
    const { page, alice, bob } = await open()
    await bob.getByRole('button', { name: 'Go offline' }).click()
    await sees(alice, 'Offline')
    await page.reload()
    await says(bob, 'You are offline: you left.')
    await says(alice, 'You are shown as online.')
    await sees(alice, 'Offline')
    await bob.getByRole('button', { name: 'Come back' }).click()
    await sees(alice, 'Online')
  })

  it('is two other people in another tab', async () => {
    const [one, other] = [await open(), await open()]
    expect(other.aliceId).not.toBe(one.aliceId)
    await one.alice.getByLabel('Busy').check()
    await sees(one.bob, 'Busy')
    await other.bob
      .locator('.seen li', { hasText: one.aliceId.slice(-4) })
      .filter({ hasText: 'Busy' })
      .waitFor()
    await sees(other.bob, 'Online')
  })

  it('goes at once when somebody signs in', async () => {
    const { page, aliceId } = await open()
    await page.getByLabel('User id').fill('carol')
    await page.getByRole('button', { name: 'Go online' }).click()
    await page.locator('#list li').filter({ hasText: 'carol' }).waitFor()
    await until(async () => (await sessions(aliceId)).length === 0, { withinMs: 1500, what: 'no session of Alice' })
  })

  it('has code to copy, also where the browser gives no clipboard', async () => {
    const page = await browser.open('about:blank', { alsoTo: [server.url] })
    // As on plain http from another machine.
    await page.addInitScript("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    await page.goto(server.url)
    const { alice } = await people(page)
    const code = await page.locator('.code pre').first().textContent()
    await page.locator('.code button').first().click()
    await page.locator('.code button').first().filter({ hasText: 'Copied' }).waitFor()
    await alice.getByLabel('Message').focus()
    await page.keyboard.press('Control+V')
    expect(await alice.getByLabel('Message').inputValue()).toBe(code?.replaceAll('\n', ' ').slice(0, 140))
  })

  for (const [size, viewport] of Object.entries({ phone: PHONE, desktop: DESKTOP })) {
    for (const colorScheme of ['light', 'dark'] as const) {
      it(`fits a ${size}, ${colorScheme}`, async () => {
        const { page, alice } = await open(server.url, { viewport, colorScheme })
        expect(await isTooWide(page)).toBe(false)
        await shoot(page, `side-by-side-${size}-${colorScheme}`)
        await alice.getByLabel('Message').fill('Working on the report that everybody waits for, and on nothing else')
        await alice.getByRole('button', { name: 'Set' }).click()
        await alice.getByRole('button', { name: 'Cut the link' }).click()
        await alice.locator('.cut').filter({ hasText: 'as offline' }).waitFor()
        expect(await isTooWide(page)).toBe(false)
        expect(await violations(page)).toEqual([])
        await shoot(page, `cut-${size}-${colorScheme}`)
      })
    }
  }
})

describe('in production, where the pages are asked for', () => {
  it('the page asks for a token, and signs in by it', async () => {
    const production = await startServer({ NODE_ENV: 'production', JWT_SECRET: SECRET, PAGES: 'true' })
    try {
      const page = await browser.open(production.url)
      await page.getByText('This server does not sign in Alice and Bob by their names').waitFor()
      expect(await violations(page)).toEqual([])
      await page.getByLabel('User id').fill(await sign({ sub: 'alice' }))
      await page.getByRole('button', { name: 'Go online' }).click()
      await page.locator('#own-state').filter({ hasText: 'You are shown as online.' }).waitFor()
      await page.locator('#list li').filter({ hasText: 'alice' }).filter({ hasText: 'you' }).waitFor()
      await page.getByRole('button', { name: 'Sign out' }).click()
      await page.getByLabel('User id').waitFor()
    } finally {
      await production.stop()
    }
  })
})
