/** GraphiQL, with nothing but the server to load from. */
import type { Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openTab, post } from '../support/clients.ts'
import { startServer, type TestServer } from '../support/server.ts'
import { until } from '../support/wait.ts'
import { browserForTests, DESKTOP, PHONE, runOperation, shoot } from './browser.ts'

const browser = browserForTests()
let server: TestServer

beforeAll(async () => {
  // What one test puts online is there when its page has been loaded again, on a busy machine too.
  server = await startServer({ PING_INTERVAL: '10s', PONG_TIMEOUT: '5s', SESSION_TTL: '60s' })
})
afterAll(() => server.stop())

async function open(options = {}): Promise<Page> {
  const page = await browser.open(`${server.url}/graphql`, options)
  await page.locator('.graphiql-query-editor .view-line').first().waitFor()
  return page
}

/** The answer as it is read: the editor draws spaces that do not break. */
async function answer(page: Page): Promise<string> {
  const lines = await page.locator('.graphiql-response .view-line').allTextContents()
  return lines.join('\n').replaceAll('\u00a0', ' ')
}

async function answers(page: Page, text: string): Promise<void> {
  await until(async () => (await answer(page)).includes(text), { what: `an answer with ${text}` })
}

describe('GraphiQL', () => {
  it('runs the three operations of its first tab', async () => {
    const page = await open()
    await runOperation(page, 'Heartbeat')
    await answers(page, '"nextHeartbeatInMs": 1000')
    await answers(page, '"status": "ONLINE"')
    expect(await answer(page)).toContain('"expiresAt": "20')

    await runOperation(page, 'WhoIsOnline')
    await answers(page, '"id": "alice"')

    await runOperation(page, 'WhatHappens')
    await until(
      async () => (await post(server, 'dev:alice', '{ viewer { sessions { isAttached } } }')).data !== undefined,
    )
    // It begins whenever its socket is open: somebody who comes and goes until then is seen sooner or later.
    await until(
      async () => {
        const bob = await openTab(server, 'bob')
        await bob.ask('mutation { setStatus(status: BUSY, message: "Seen from GraphiQL") { viewer { id } } }')
        await bob.ask('mutation { goOffline { viewer { id } } }')
        await bob.close()
        return (await answer(page)).includes('"id": "bob"')
      },
      { what: "bob's change" },
    )
    await shoot(page, 'graphiql-subscription')
  })

  it('watches without coming online, and leaves nothing behind', async () => {
    const page = await open()
    await runOperation(page, 'WhatHappens')
    const socket = await until(() => browser.sockets.find((found) => found.page === page), { what: 'the socket' })
    await until(() => socket.acknowledged, { what: 'its acknowledgement' })
    const { data } = await post(server, 'dev:alice', '{ viewer { sessions { id device } } }')
    expect(data?.viewer.sessions.filter(({ id }: { id: string }) => id !== 'default')).toEqual([])
    await page.locator('.graphiql-execute-button').click()
    await until(() => socket.isClosed, { what: 'the end of the socket' })
  })

  it('says at once why a subscription is refused', async () => {
    const page = await open()
    await page.locator('.graphiql-editor-tool .view-lines').last().click()
    await page.keyboard.press('Control+A')
    // The editor closes the quote and the brace by itself.
    await page.keyboard.type('{"authorization":"Bearer wrong')
    await runOperation(page, 'WhatHappens')
    await answers(page, 'UNAUTHENTICATED')
    await shoot(page, 'graphiql-refused')
    // GraphiQL tells the console of it as well.
    browser.complaints.length = 0
  })

  it('keeps its header when it is loaded again', async () => {
    const page = await open()
    await runOperation(page, 'Heartbeat')
    await answers(page, '"status": "ONLINE"')
    await page.reload()
    await page.locator('.graphiql-query-editor .view-line').first().waitFor()
    await runOperation(page, 'WhoIsOnline')
    await answers(page, '"id": "alice"')
  })

  it('reads the schema without a token, and shows its documentation', async () => {
    const page = await open()
    await page.locator('.graphiql-editor-tool .view-lines').last().click()
    await page.keyboard.press('Control+A')
    await page.keyboard.press('Delete')
    const read = page.waitForResponse(async (response) => {
      const isSchema = response.request().postData()?.includes('__schema') === true
      return isSchema && (await response.request().headerValue('authorization')) === null
    })
    await page.getByRole('button', { name: /re-fetch/i }).click()
    expect(await (await read).json()).toHaveProperty('data.__schema.queryType.name', 'Query')
    await page
      .getByRole('button', { name: /documentation/i })
      .first()
      .click()
    await page.getByRole('link', { name: 'Mutation' }).click()
    await page.getByRole('link', { name: 'heartbeat', exact: true }).waitFor()
    await shoot(page, 'graphiql-documentation')
  })

  for (const [size, viewport] of Object.entries({ phone: PHONE, desktop: DESKTOP })) {
    for (const colorScheme of ['light', 'dark'] as const) {
      it(`opens on a ${size}, ${colorScheme}`, async () => {
        const page = await open({ viewport, colorScheme })
        await page.locator('.graphiql-execute-button').waitFor()
        await shoot(page, `graphiql-${size}-${colorScheme}`)
      })
    }
  }
})
