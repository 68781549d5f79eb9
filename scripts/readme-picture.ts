/**
 * Takes the picture of the README from the real page: `npm run build`, then `npx tsx scripts/readme-picture.ts`.
 *
 * Needs Chromium, at `/usr/bin/chromium` or where `CHROMIUM_PATH` says.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { type Browser, chromium } from 'playwright-core'

const picture = fileURLToPath(new URL('../docs/images/two-tabs.png', import.meta.url))
/** Wide enough for both people and the code beside them. */
const WINDOW = { width: 1280, height: 830 }

const folder = mkdtempSync(join(tmpdir(), 'rollcall-picture-'))
const server = spawn(process.execPath, [fileURLToPath(new URL('../dist/main.js', import.meta.url))], {
  env: { PATH: process.env.PATH, PORT: '0', DATA_DIR: folder },
  stdio: ['ignore', 'pipe', 'inherit'],
})
try {
  const url = await listeningUrl()
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM_PATH ?? '/usr/bin/chromium',
    args: ['--no-sandbox'],
  })
  try {
    await shoot(browser, url)
  } finally {
    await browser.close()
  }
} finally {
  server.kill()
  await once(server, 'exit')
  rmSync(folder, { recursive: true, force: true })
}

async function listeningUrl(): Promise<string> {
  for await (const line of createInterface({ input: server.stdout })) {
    const { url } = JSON.parse(line) as { readonly url?: string }
    if (url !== undefined) return url
  }
  throw new Error('The server ended before it listened.')
}

async function shoot(browser: Browser, url: string): Promise<void> {
  const page = await browser.newPage({ viewport: WINDOW, deviceScaleFactor: 1.5, locale: 'en-GB' })
  await page.goto(url)
  const [alice, bob] = [page.locator('.panel').nth(0), page.locator('.panel').nth(1)]
  await alice.getByText('Connected').waitFor()
  await alice.getByLabel('Busy').check()
  await alice.getByLabel('Message').fill('In a meeting until three')
  await alice.getByRole('button', { name: 'Set' }).click()
  await bob.locator('.seen').getByText('In a meeting until three').waitFor()
  await alice.locator('.seen').getByText('Online', { exact: true }).waitFor()
  // Nothing has the focus, and nothing lies under the pointer.
  await page.evaluate('document.activeElement.blur(), scrollTo(0, 0)')
  await page.mouse.move(0, 0)
  mkdirSync(fileURLToPath(new URL('../docs/images', import.meta.url)), { recursive: true })
  await page.screenshot({ path: picture })
}
