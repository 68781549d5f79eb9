/** The demo page, as the people in front of it see it. */
import type { Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openTab, post } from '../support/clients.ts'
import { startServer, type TestServer } from '../support/server.ts'
import { openTcpProxy } from '../support/tcp-proxy.ts'
import { until } from '../support/wait.ts'
import { browserForTests, DESKTOP, isTooWide, PHONE, shoot } from './browser.ts'

const browser = browserForTests()
let server: TestServer

beforeAll(async () => {
  server = await startServer({ PING_INTERVAL: '10s', PONG_TIMEOUT: '5s', CLOSE_GRACE: '5s', RECONNECT_GRACE: '15s' })
})
afterAll(() => server.stop())

function signIn(userId: string, room = '', options = {}): Promise<Page> {
  return browser.open(`${server.url}/?${new URLSearchParams({ user: userId, room })}`, options)
}

/** The row of a user in the list. */
function row(page: Page, userId: string) {
  return page.locator('#list li').filter({ has: page.getByText(userId, { exact: true }) })
}

async function shows(page: Page, userId: string, text = ''): Promise<void> {
  await row(page, userId).filter({ hasText: text }).waitFor()
}

async function hides(page: Page, userId: string): Promise<void> {
  await row(page, userId).waitFor({ state: 'detached' })
}

function log(page: Page): Promise<string[]> {
  return page.locator('#log li span').allTextContents()
}

/** The id of the element that has the focus. */
function focused(page: Page): Promise<string> {
  return page.evaluate('document.activeElement.id')
}

/** What labels the field that has the focus. */
function focusedLabel(page: Page): Promise<string> {
  return page.evaluate('document.activeElement.labels?.[0]?.textContent')
}

async function leaveAll(...pages: Page[]): Promise<void> {
  for (const page of pages) await page.getByRole('button', { name: 'Sign out' }).click()
  for (const page of pages) await page.getByLabel('User id').waitFor()
}

describe('the page', () => {
  it('shows two people each other', async () => {
    const alice = await browser.open(server.url)
    await alice.getByLabel('User id').fill('alice')
    await alice.getByRole('button', { name: 'Go online' }).click()
    await shows(alice, 'alice', 'you')
    const bob = await signIn('bob')
    await shows(alice, 'bob', 'Online')
    await shows(bob, 'alice', 'Online')
    await alice.locator('#freshness').filter({ hasText: 'Live' }).waitFor()
    expect(await alice.locator('#list-count').textContent()).toBe('2')
    await leaveAll(alice, bob)
  })

  it('shows others what status and message a person chooses', async () => {
    const [alice, bob] = [await signIn('alice'), await signIn('bob')]
    await shows(bob, 'alice')
    await alice.getByLabel('Busy').check()
    await shows(bob, 'alice', 'Busy')
    await alice.getByLabel('Message').fill('In a meeting')
    await alice.getByRole('button', { name: 'Set' }).click()
    await shows(bob, 'alice', 'In a meeting')
    await bob.locator('#log').getByText('alice is busy: “In a meeting”').waitFor()
    await alice.locator('#own-state').filter({ hasText: 'You are shown as busy.' }).waitFor()
    await alice.getByLabel('Away').check()
    await shows(bob, 'alice', 'Away')
    await alice.getByLabel('Automatic').check()
    await alice.getByLabel('Message').fill('')
    await alice.getByLabel('Message').press('Enter')
    await shows(bob, 'alice', 'Online')
    await bob.locator('#log').getByText('alice took their message back').waitFor()
    await leaveAll(alice, bob)
  })

  it('hides a person, and shows them again', async () => {
    const [alice, bob] = [await signIn('alice'), await signIn('bob')]
    await shows(bob, 'alice')
    await alice.getByRole('button', { name: 'Appear offline' }).click()
    await hides(bob, 'alice')
    await alice.locator('#own-state').filter({ hasText: 'You are hidden' }).waitFor()
    await alice.getByRole('button', { name: 'Show me again' }).click()
    await shows(bob, 'alice')
    await leaveAll(alice, bob)
  })

  it('lets a person leave and come back, also where the tab was reloaded in between', async () => {
    const [alice, bob] = [await signIn('alice'), await signIn('bob')]
    await shows(bob, 'alice')
    await alice.getByRole('button', { name: 'Go offline' }).click()
    await hides(bob, 'alice')
    // What they do in the page now does not bring them back.
    await alice.mouse.move(200, 200)
    await alice.locator('#own-state').filter({ hasText: 'You are offline: you left.' }).waitFor()
    await alice.getByRole('button', { name: 'Come back' }).click()
    await shows(bob, 'alice')

    await alice.getByRole('button', { name: 'Go offline' }).click()
    await hides(bob, 'alice')
    await alice.reload()
    await alice.locator('#own-state').filter({ hasText: 'You are offline: you left.' }).waitFor()
    await shows(alice, 'bob')
    expect(await row(bob, 'alice').count()).toBe(0)
    await alice.getByRole('button', { name: 'Come back' }).click()
    await shows(bob, 'alice')
    await leaveAll(alice, bob)
    expect((await sessions('alice')).length).toBe(0)
  })

  it('says that another tab keeps a person online', async () => {
    const alice = await signIn('alice')
    const second = await alice.context().newPage()
    await second.goto(`${server.url}/?user=alice`)
    await shows(second, 'alice', 'you')
    expect(new URL(second.url()).search).toBe('')
    await until(async () => (await sessions('alice')).length === 2)
    await second.getByRole('button', { name: 'Go offline' }).click()
    await second.locator('#own-state').filter({ hasText: 'still online in another tab' }).waitFor()
    await leaveAll(alice, second)
  })

  it('is no leaving and coming back for others when a tab is reloaded', async () => {
    const [alice, bob] = [await signIn('alice'), await signIn('bob')]
    await shows(bob, 'alice')
    const before = (await sessions('alice')).map(({ id }) => id)
    const seen = await log(bob)
    for (let round = 0; round < 3; round += 1) {
      await alice.reload()
      await shows(alice, 'bob')
      await until(async () => (await sessions('alice'))[0]?.isAttached)
    }
    // Whatever the reloads had told would be told before this.
    await alice.getByLabel('Busy').check()
    await shows(bob, 'alice', 'Busy')
    await bob.locator('#log li').first().filter({ hasText: 'alice is busy' }).waitFor()
    expect(await log(bob)).toEqual(['alice is busy', ...seen].slice(0, 8))
    expect((await sessions('alice')).map(({ id }) => id)).toEqual(before)
    await alice.getByLabel('Automatic').check()
    await shows(bob, 'alice', 'Online')
    await leaveAll(alice, bob)
  })

  it('shows only who is in the room', async () => {
    const alice = await signIn('alice', 'lobby')
    const bob = await signIn('bob', 'lobby')
    const elsewhere = await signIn('user-1')
    await shows(alice, 'bob')
    await shows(elsewhere, 'alice')
    expect(await row(alice, 'user-1').count()).toBe(0)
    expect(await alice.locator('#list-title').textContent()).toBe('In lobby')
    await bob.getByRole('button', { name: 'Go offline' }).click()
    await hides(alice, 'bob')
    await bob.getByRole('button', { name: 'Come back' }).click()
    await shows(alice, 'bob')
    await leaveAll(alice, bob, elsewhere)
  })

  it('moves from room to room in one session, and nobody sees the person go', async () => {
    const [alice, bob] = [await signIn('alice'), await signIn('bob')]
    await shows(bob, 'alice')
    const [before] = await sessions('alice')
    const seen = await log(bob)
    await alice.getByLabel('Room to go to').fill('lobby')
    await alice.getByRole('button', { name: 'Go in' }).click()
    await alice.locator('#list-title').filter({ hasText: 'In lobby' }).waitFor()
    await shows(alice, 'alice', 'you')
    expect(await row(alice, 'bob').count()).toBe(0)
    await alice
      .locator('.counts')
      .filter({ hasText: '1 in lobby' })
      .filter({ hasText: '2 online everywhere' })
      .waitFor()
    await until(async () => (await sessions('alice'))[0]?.rooms.join() === 'lobby', { what: 'the room' })
    await alice.getByRole('button', { name: 'Leave lobby' }).click()
    await alice.locator('#list-title').filter({ hasText: 'Online now' }).waitFor()
    await shows(alice, 'bob')
    await until(async () => (await sessions('alice'))[0]?.rooms.length === 0, { what: 'no room' })
    expect((await sessions('alice')).map(({ id }) => id)).toEqual([before?.id])
    expect(await log(bob)).toEqual(seen)
    await leaveAll(alice, bob)
  })

  it('watches whom the person names, online or not', async () => {
    const alice = await signIn('alice')
    const watched = (userId: string) => alice.locator('#watched li').filter({ hasText: userId })
    await watched('bob').waitFor()
    await alice.getByLabel('Id to watch').fill('watched-1')
    await alice.getByLabel('Id to watch').press('Enter')
    await watched('watched-1').filter({ hasText: 'Was never here' }).waitFor()
    const tab = await openTab(server, 'watched-1')
    await watched('watched-1').filter({ hasText: 'Online' }).waitFor()
    await tab.ask('mutation { goOffline { viewer { id } } }')
    await watched('watched-1').filter({ hasText: 'Offline' }).waitFor()
    await alice.getByRole('button', { name: 'Remove watched-1' }).click()
    await watched('watched-1').waitFor({ state: 'detached' })
    await tab.close()
    await leaveAll(alice)
  })

  it("lists the person's tabs and devices", async () => {
    const alice = await signIn('alice', 'lobby')
    const own = alice.locator('#sessions li').filter({ hasText: 'this tab' })
    await own.filter({ hasText: 'Demo page' }).filter({ hasText: 'in lobby' }).waitFor()
    const phone = await openTab(server, 'alice', { device: 'Phone' })
    await alice.locator('#sessions li').filter({ hasText: 'Phone' }).waitFor()
    await phone.ask('mutation { goOffline { viewer { id } } }')
    await alice.locator('#sessions li').filter({ hasText: 'Phone' }).waitFor({ state: 'detached' })
    await phone.close()
    await leaveAll(alice)
  })

  it('counts what the person does as activity, and nothing else', async () => {
    const own = await startServer({ AWAY_AFTER: '2s', PING_INTERVAL: '10s', PONG_TIMEOUT: '5s' })
    try {
      const alice = await browser.open(`${own.url}/?user=alice`)
      await shows(alice, 'alice', 'Online')
      await shows(alice, 'alice', 'Away')
      await alice.locator('#own-state').filter({ hasText: 'nothing happened here for a while' }).waitFor()
      await alice.keyboard.press('Tab')
      await shows(alice, 'alice', 'Online')
    } finally {
      await own.stop()
      browser.complaints.length = 0
    }
  })

  it('says that the list is stale while the server is away, and goes on when it is back', async () => {
    const proxy = await openTcpProxy({ host: '127.0.0.1', port: Number(new URL(server.url).port) })
    const alice = await browser.open(`http://127.0.0.1:${proxy.port}/?user=alice`)
    const bob = await openTab(server, 'bob')
    await shows(alice, 'bob')
    // What was never live is not stale either.
    await alice.locator('#freshness').filter({ hasText: 'Live' }).waitFor()
    proxy.refuse()
    await alice.locator('#freshness').filter({ hasText: 'Stale since' }).waitFor()
    await alice.locator('#own-state').filter({ hasText: 'No connection' }).waitFor()
    expect(await alice.getByRole('button', { name: 'Appear offline' }).isDisabled()).toBe(true)
    await shoot(alice, 'page-stale')
    await bob.ask('mutation { setStatus(status: BUSY, message: "Meanwhile") { viewer { id } } }')
    proxy.mend()
    await shows(alice, 'bob', 'Meanwhile')
    await alice.locator('#freshness').filter({ hasText: 'Live' }).waitFor()
    await bob.ask('mutation { setStatus(status: AUTOMATIC, message: null) { viewer { id } } }')
    await bob.ask('mutation { goOffline { viewer { id } } }')
    await bob.close()
    await leaveAll(alice)
    await proxy.close()
    // Chromium tells of each connection that could not be made.
    expect(browser.complaints.filter((text) => !/WebSocket connection to|ERR_CONNECTION/.test(text))).toEqual([])
    browser.complaints.length = 0
  })

  it('says that there is no connection also while it tries to make one', async () => {
    const proxy = await openTcpProxy({ host: '127.0.0.1', port: Number(new URL(server.url).port) })
    const alice = await browser.open(`http://127.0.0.1:${proxy.port}/?user=alice`)
    await shows(alice, 'alice', 'you')
    await alice.locator('#freshness').filter({ hasText: 'Live' }).waitFor()
    proxy.fallSilent()
    await alice.locator('#freshness').filter({ hasText: 'Stale since' }).waitFor()
    const trying = alice.locator('.you-card:has(.link[data-state=connecting]) #own-state')
    expect(await trying.textContent()).toBe('No connection.')
    proxy.mend()
    await alice.locator('#own-state').filter({ hasText: 'You are shown as online.' }).waitFor()
    await leaveAll(alice)
    await proxy.close()
    // Chromium tells of each connection that could not be made.
    browser.complaints.length = 0
  })

  it('moves the focus on where the field that had it is gone', async () => {
    const alice = await browser.open(server.url)
    await alice.getByLabel('User id').fill('alice')
    await alice.getByLabel('User id').press('Enter')
    await shows(alice, 'alice', 'you')
    expect(await focused(alice)).toBe('you-heading')
    await alice.getByRole('button', { name: 'Sign out' }).press('Enter')
    await until(async () => (await focused(alice)) === 'identity', { what: 'the focus on the form' })
  })

  it('keeps the focus where the person was when the connection was lost', async () => {
    const proxy = await openTcpProxy({ host: '127.0.0.1', port: Number(new URL(server.url).port) })
    try {
      const alice = await browser.open(`http://127.0.0.1:${proxy.port}/?user=alice`)
      await shows(alice, 'alice', 'you')
      await alice.getByLabel('Message').fill('Half a sen')
      proxy.cut()
      await alice.locator('#own-state').filter({ hasText: 'No connection' }).waitFor()
      await alice.locator('#own-state').filter({ hasText: 'You are shown as online.' }).waitFor()
      expect(await focusedLabel(alice)).toBe('Message')
      await alice.keyboard.type('tence')
      expect(await alice.getByLabel('Message').inputValue()).toBe('Half a sentence')

      await alice.getByLabel('Away').focus()
      proxy.cut()
      await alice.locator('#own-state').filter({ hasText: 'No connection' }).waitFor()
      await alice.locator('#own-state').filter({ hasText: 'You are shown as online.' }).waitFor()
      await until(async () => (await focusedLabel(alice)) === 'Away', { what: 'the focus on the choice' })
      await leaveAll(alice)
    } finally {
      await proxy.close()
      browser.complaints.length = 0
    }
  })

  it('keeps what a person has written and not sent yet, whatever comes in between', async () => {
    const alice = await signIn('alice')
    await shows(alice, 'alice', 'you')
    const phone = await openTab(server, 'alice')
    await alice.getByLabel('Message').fill('On the train')
    // As the button does when it is pressed, before it is released.
    await alice.getByLabel('Message').blur()
    await phone.ask('mutation { setStatus(status: BUSY, message: "From the phone") { viewer { id } } }')
    await alice.locator('#own-state').filter({ hasText: 'You are shown as busy.' }).waitFor()
    expect(await alice.getByLabel('Message').inputValue()).toBe('On the train')
    await alice.getByRole('button', { name: 'Set' }).click()
    await shows(alice, 'alice', 'On the train')
    await phone.ask('mutation { setStatus(status: AUTOMATIC, message: null) { viewer { id } } }')
    await until(async () => (await alice.getByLabel('Message').inputValue()) === '', { what: 'the message of now' })
    await phone.close()
    await leaveAll(alice)
  })

  it('says why the server refuses a person', async () => {
    const page = await signIn('eyJhbGciOiJIUzI1NiJ9.e30.c2lnbmF0dXJl')
    await page.locator('#own-state').filter({ hasText: 'The server refused you' }).waitFor()
    await shoot(page, 'page-refused')
    await page.getByRole('button', { name: 'Sign in again' }).click()
    await page.getByLabel('User id').waitFor()
  })

  it('says why a message cannot be set', async () => {
    const alice = await signIn('alice')
    await shows(alice, 'alice')
    // The field keeps to the bound; whoever changes it meets the server's.
    await alice.evaluate("document.querySelector('.message-field').maxLength = 1000")
    await alice.getByLabel('Message').fill('x'.repeat(200))
    await alice.getByRole('button', { name: 'Set' }).click()
    await alice.getByRole('alert').filter({ hasText: 'message' }).waitFor()
    await leaveAll(alice)
  })

  for (const [size, viewport] of Object.entries({ phone: PHONE, desktop: DESKTOP })) {
    for (const colorScheme of ['light', 'dark'] as const) {
      it(`fits a ${size}, ${colorScheme}`, async () => {
        const start = await browser.open(server.url, { viewport, colorScheme })
        await start.getByLabel('User id').waitFor()
        expect(await isTooWide(start)).toBe(false)
        await shoot(start, `sign-in-${size}-${colorScheme}`)

        const others = await Promise.all([
          openTab(server, 'bob'),
          openTab(server, 'user-1'),
          openTab(server, `somebody-with-a-name-that-never-ends-${'x'.repeat(60)}`),
        ])
        const words = [
          'Back at two',
          'Working on the report that everybody waits for, and on nothing else until it is done',
        ]
        for (const [index, status] of ['AWAY', 'BUSY'].entries()) {
          await others[index]?.ask(
            `mutation ($message: String) { setStatus(status: ${status}, message: $message) { viewer { id } } }`,
            {
              message: words[index],
            },
          )
        }
        const alice = await signIn('alice', '', { viewport, colorScheme })
        await shows(alice, 'bob', 'Back at two')
        await others[0]?.ask('mutation { setStatus(status: AWAY, message: "Back at three") { viewer { id } } }')
        await shows(alice, 'bob', 'Back at three')
        expect(await isTooWide(alice)).toBe(false)
        await shoot(alice, `page-${size}-${colorScheme}`)
        for (const other of others) {
          await other.ask('mutation { setStatus(status: AUTOMATIC, message: null) { viewer { id } } }')
          await other.ask('mutation { goOffline { viewer { id } } }')
          await other.close()
        }
        await leaveAll(alice)
      })
    }
  }
})

async function sessions(userId: string): Promise<{ id: string; rooms: string[]; isAttached: boolean }[]> {
  const { data } = await post(server, `dev:${userId}`, '{ viewer { sessions { id rooms isAttached } } }')
  return data?.viewer.sessions
}
