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
const TAB = { width: 520, height: 860 }

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
  const tabs = []
  for (const userId of ['alice', 'bob']) {
    const page = await browser.newPage({ viewport: TAB, deviceScaleFactor: 2 })
    await page.goto(url)
    await page.getByLabel('User id').fill(userId)
    await page.getByRole('button', { name: 'Go online' }).click()
    tabs.push(page)
  }
  for (const page of tabs) await page.locator('#list li').nth(1).waitFor()
  const images = await Promise.all(tabs.map((page) => page.screenshot()))

  const both = await browser.newPage({ viewport: { width: 2 * TAB.width + 60, height: TAB.height + 40 } })
  const tags = images.map(
    (image) => `<img width="${TAB.width}" src="data:image/png;base64,${image.toString('base64')}">`,
  )
  await both.setContent(
    `<style>body{margin:20px;display:flex;gap:20px}img{border:1px solid #ccc;border-radius:8px}</style>${tags.join('')}`,
  )
  mkdirSync(fileURLToPath(new URL('../docs/images', import.meta.url)), { recursive: true })
  await both.screenshot({ path: picture })
}
