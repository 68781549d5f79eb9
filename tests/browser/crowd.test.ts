/** Many people online, and many changes: what the page's main thread has to do for it, and what it renders again. */
import type { CDPSession, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { post } from '../support/clients.ts'
import { startServer, type TestServer } from '../support/server.ts'
import { until } from '../support/wait.ts'
import { browserForTests } from './browser.ts'

const CROWD = 10_000
const CHANGES_PER_SECOND = 100
const MEASURED_MS = 8000
/** Requests at once while the crowd comes. */
const AT_ONCE = 64

const browser = browserForTests()
let server: TestServer

beforeAll(async () => {
  server = await startServer({ SESSION_TTL: '10m', PING_INTERVAL: '10s', PONG_TIMEOUT: '5s' })
})
afterAll(() => server.stop())

const userId = (index: number): string => `user-${String(index).padStart(5, '0')}`

/** Puts them online by one heartbeat each. */
async function arrive(from: number, to: number): Promise<void> {
  let next = from
  async function send(): Promise<void> {
    while (next < to) {
      const id = userId(next)
      next += 1
      const { errors } = await post(server, `dev:${id}`, 'mutation { heartbeat { expiresAt } }')
      if (errors) throw new Error(JSON.stringify(errors))
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, send))
}

/** Changes the message of one user after the other, so many in a second. @returns who changed, in order */
async function change(userIds: readonly string[], forMs: number): Promise<string[]> {
  const changed: string[] = []
  const sent: Promise<unknown>[] = []
  const startedAtMs = performance.now()
  await until(
    () => {
      const passedMs = performance.now() - startedAtMs
      for (; changed.length < (Math.min(passedMs, forMs) * CHANGES_PER_SECOND) / 1000; ) {
        const id = userIds[changed.length % userIds.length] as string
        const message = `Change ${changed.length}`
        changed.push(id)
        sent.push(
          post(
            server,
            `dev:${id}`,
            'mutation ($m: String) { setStatus(status: AUTOMATIC, message: $m) { viewer { id } } }',
            {
              m: message,
            },
          ),
        )
      }
      return passedMs >= forMs
    },
    { withinMs: forMs + 30_000, everyMs: 5 },
  )
  await Promise.all(sent)
  return changed
}

interface Load {
  /** Of the time, how much the main thread was at work. */
  readonly busy: number
  readonly p95FrameMs: number
  readonly longestFrameMs: number
}

async function measure(page: Page, work: () => Promise<unknown>): Promise<Load> {
  const devTools = await page.context().newCDPSession(page)
  await devTools.send('Performance.enable')
  await page.evaluate(`void (() => {
    window.frames = []
    let last = performance.now()
    const look = (now) => { frames.push(now - last); last = now; requestAnimationFrame(look) }
    requestAnimationFrame(look)
  })()`)
  const before = await timesOf(devTools)
  await work()
  const after = await timesOf(devTools)
  const frames = (await page.evaluate<number[]>('window.frames')).sort((one, other) => one - other)
  return {
    busy: (after.workS - before.workS) / (after.atS - before.atS),
    p95FrameMs: frames[Math.floor(frames.length * 0.95)] ?? 0,
    longestFrameMs: frames.at(-1) ?? 0,
  }
}

async function timesOf(devTools: CDPSession): Promise<{ workS: number; atS: number }> {
  const { metrics } = await devTools.send('Performance.getMetrics')
  const metricOf = (name: string): number => metrics.find((metric) => metric.name === name)?.value ?? 0
  return { workS: metricOf('TaskDuration'), atS: metricOf('Timestamp') }
}

function tell(what: string, { busy, p95FrameMs, longestFrameMs }: Load): void {
  const [percent, p95, longest] = [busy * 100, p95FrameMs, longestFrameMs].map((value) => value.toFixed(1))
  console.log(`${what}: main thread busy ${percent} %, p95 frame ${p95} ms, longest ${longest} ms`)
}

/**
 * Counts what React renders, as its developer tools do: by what it tells of each commit. A component is known by the
 * first element in it.
 */
const COUNT_RENDERS = `
  const FUNCTIONS = [0, 11, 14, 15]
  const PERFORMED_WORK = 1
  window.renders = {}
  function hostOf(fiber) {
    for (let found = fiber.child; found; found = found.child) if (found.tag === 5) return found
    return null
  }
  function nameOf(fiber) {
    const { type, memoizedProps } = hostOf(fiber) ?? {}
    return type ? type + (memoizedProps.id ? '#' + memoizedProps.id : '.' + memoizedProps.className) : 'nothing'
  }
  function visit(fiber, before) {
    if (FUNCTIONS.includes(fiber.tag) && (before === null || fiber.flags & PERFORMED_WORK)) {
      const name = nameOf(fiber)
      renders[name] = (renders[name] ?? 0) + 1
    }
    if (before !== null && fiber.child === before.child) return
    for (let child = fiber.child; child; child = child.sibling) visit(child, child.alternate)
  }
  window.__REACT_DEVTOOLS_GLOBAL_HOOK__ = {
    supportsFiber: true,
    isDisabled: false,
    checkDCE() {},
    inject: () => 1,
    onCommitFiberUnmount() {},
    onPostCommitFiberRoot() {},
    onCommitFiberRoot(_id, { current }) { visit(current, current.alternate) },
  }
`

async function openCounting(url: string): Promise<Page> {
  const page = await browser.open('about:blank', { alsoTo: [url] })
  await page.addInitScript(COUNT_RENDERS)
  await page.goto(url)
  return page
}

function shownIds(page: Page): Promise<string[]> {
  return page.evaluate("[...document.querySelectorAll('#list .name bdi')].map((name) => name.textContent)")
}

describe('a thousand people', () => {
  it('render the rows of who changes, and the list not once', { timeout: 120_000 }, async () => {
    await arrive(0, 1000)
    const page = await openCounting(`${server.url}/?user=user-00000`)
    await page.locator('#freshness').filter({ hasText: 'Live' }).waitFor()
    await page.locator('#list-count').filter({ hasText: '1,000' }).waitFor()
    const shown = await shownIds(page)
    expect(shown.length).toBeGreaterThan(5)
    expect(shown.length).toBeLessThan(40)
    // Also those who are far below what is shown.
    const changing = Array.from({ length: 200 }, (_, index) => userId(1 + index * 4))
    await page.evaluate('void (window.renders = {})')
    const load = await measure(page, async () => {
      const changed = await change(changing, 4000)
      const last = changed.filter((id) => shown.includes(id)).at(-1) as string
      await page.getByText(`Change ${changed.lastIndexOf(last)}`, { exact: true }).waitFor()
      const renders = await page.evaluate<Record<string, number>>('window.renders')
      console.log('rendered', renders)
      expect(renders['li.person']).toBe(changed.filter((id) => shown.includes(id)).length)
      expect(renders['ul#list'] ?? 0).toBe(0)
      expect(renders['section.card online'] ?? 0).toBe(0)
    })
    tell('1,000 people, 100 changes a second', load)
  })
})

describe('ten thousand people', () => {
  it('are shown without a stutter while they change', { timeout: 240_000 }, async () => {
    const startedAtMs = performance.now()
    await arrive(1000, CROWD)
    console.log(`9,000 more came in ${((performance.now() - startedAtMs) / 1000).toFixed(1)} s`)
    const page = await browser.open(`${server.url}/?user=user-00000`)
    await page.locator('#list-count').filter({ hasText: '10,000' }).waitFor()
    const load = await measure(page, () =>
      change(
        Array.from({ length: CROWD }, (_, index) => userId(index)),
        MEASURED_MS,
      ),
    )
    tell('10,000 people, 100 changes a second', load)
    expect(load.busy).toBeLessThan(0.6)
    const scrolled = await measure(page, async () => {
      const changing = change(
        Array.from({ length: 50 }, (_, index) => userId(5000 + index)),
        4000,
      )
      const list = page.locator('#list')
      await list.hover()
      for (let step = 0; step < 60; step += 1) await page.mouse.wheel(0, 2000)
      await changing
    })
    tell('the same while the list is scrolled', scrolled)
    expect(scrolled.busy).toBeLessThan(0.9)
  })

  it('are in a list that the keyboard goes through, and a search that finds one', { timeout: 60_000 }, async () => {
    const page = await browser.open(`${server.url}/?user=user-00000`)
    const list = page.locator('#list')
    const lastRow = list.locator(`li[aria-posinset="${CROWD}"][aria-setsize="${CROWD}"]`)
    await page.locator('#list-count').filter({ hasText: '10,000' }).waitFor()
    await page.locator('.long').focus()
    await page.keyboard.press('End')
    await lastRow.filter({ hasText: userId(CROWD - 1) }).waitFor()
    expect(await list.locator('li').count()).toBeLessThan(40)
    await page.keyboard.press('Home')
    await list
      .locator('li[aria-posinset="1"]')
      .filter({ hasText: userId(0) })
      .waitFor()
    await page.getByLabel('Find a person').fill('USER-07777')
    await list
      .locator('li[aria-setsize="1"]')
      .filter({ hasText: userId(7777) })
      .waitFor()
    await page.getByText('1 person found.').waitFor()
  })
})
