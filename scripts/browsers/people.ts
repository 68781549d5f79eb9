/** What the project's page shows to its people: each other, and nothing wrong after a sleep or a lost network. */
import { setTimeout as sleep } from 'node:timers/promises'
import { openTab } from '../../tests/support/clients.ts'
import { openTcpProxy } from '../../tests/support/tcp-proxy.ts'
import { until } from '../../tests/support/wait.ts'
import type { Engine, EngineTab } from './engine.ts'
import type { Wire } from './wire.ts'

export interface PeopleWorld {
  readonly server: { readonly url: string; readonly wsUrl: string }
  readonly wire: Wire
}

export interface SeenCase {
  readonly case: string
  readonly seen: string
}

/** What a page showed, each time that it was another thing. */
interface Shown {
  /** Epoch ms. */
  readonly atMs: number
  readonly ownState: string
  readonly freshness: string
  /** The row of the other person; null: there is none. */
  readonly other: string | null
}

/** Longer than the server keeps a connection whose page is silent, 30 s, and than any message waits. */
const SLEEP_MS = 75_000
const BLACK_MS = 30_000
/** When the other person changes first, after the sleep or the outage began, and how long before its end again. */
const CHANGE_MS = 10_000
const PATIENCE_MS = 60_000

let lastPair = 0

export async function goThroughPeople(
  engine: Engine,
  world: PeopleWorld,
  tell: (seen: SeenCase) => void,
): Promise<void> {
  const direct = `http://127.0.0.1:${world.wire.port}`

  async function watchEachOther(): Promise<void> {
    const [alice, bob] = newPair()
    const aliceTab = await openPage(engine, direct, alice, bob)
    const bobTab = await openPage(engine, direct, bob, alice)
    const parts = [await seenAfter(aliceTab, bob, 'opens the page', async () => {}, 'Online')]
    parts.push(await seenAfter(aliceTab, bob, 'is busy', () => click(bobTab, 'Busy'), 'Busy'))
    parts.push(await seenAfter(aliceTab, bob, 'appears offline', () => click(bobTab, 'Appear offline'), null))
    parts.push(await seenAfter(aliceTab, bob, 'is shown again', () => click(bobTab, 'Show me again'), 'Busy'))
    const before = (await shownBy(aliceTab)).length
    await bobTab.evaluate('void (window.isOld = true)')
    await bobTab.reload()
    await until(async () => (await inPage(bobTab, 'window.isOld !== true && document.readyState')) === 'complete', {
      what: 'the reload',
      withinMs: PATIENCE_MS,
    })
    await record(bobTab, alice)
    await untilShows(bobTab, 'Online')
    // Longer than `CLOSE_GRACE` and a sweep: a LEAVE would be there.
    await sleep(9000)
    const during = (await shownBy(aliceTab)).length - before
    parts.push(`reloads: ${during === 0 ? 'nothing is seen of it' : `${during} changes are seen`}`)
    parts.push(await seenAfter(aliceTab, bob, 'closes the tab', () => bobTab.close(), null))
    tell({ case: 'two people', seen: `Bob ${parts.join('; ')}` })
    await aliceTab.close()
  }

  async function sideBySide(): Promise<void> {
    const tab = await engine.open(`${direct}/`)
    const online = `[...document.querySelectorAll('.panel .seen li:first-child')].map((row) => row.textContent)`
    const rows = () => inPage<string[]>(tab, online)
    await until(async () => (await rows())?.every((row) => row.includes('Online')) && (await rows())?.length === 2, {
      what: 'Alice and Bob',
      withinMs: PATIENCE_MS,
    })
    const busy = `document.querySelectorAll('.panel')[0].querySelector('input[value=BUSY]')`
    await until(async () => inPage(tab, `!${busy}.matches(':disabled')`), { what: 'the controls of Alice' })
    const clickedAtMs = performance.now()
    await tab.evaluate(`void ${busy}.click()`)
    await until(async () => (await rows())?.[1]?.includes('Busy'), { what: 'what Bob sees', withinMs: PATIENCE_MS })
    tell({
      case: 'Alice and Bob in one tab',
      seen: `both are online; Bob sees that Alice is busy after ${seconds(performance.now() - clickedAtMs)} s`,
    })
    await tab.close()
  }

  /** The process of the page stands still; the other person changes while the connection is there, and after its end. */
  async function sleepAndWake(): Promise<void> {
    const [alice, bob] = newPair()
    const other = await openTab(world.server, bob)
    const tab = await openPage(engine, direct, alice, bob)
    await untilShows(tab, 'Online')
    const asleepAtMs = Date.now()
    await tab.suspend()
    let awakeAtMs: number
    try {
      await sleep(CHANGE_MS)
      await other.ask('mutation { setStatus(status: BUSY) { viewer { id } } }')
      await sleep(SLEEP_MS - 2 * CHANGE_MS)
      await other.ask('mutation { setStatus(status: AWAY) { viewer { id } } }')
      await sleep(asleepAtMs + SLEEP_MS - Date.now())
    } finally {
      awakeAtMs = Date.now()
      await tab.resume()
    }
    await untilShows(tab, 'Away')
    tell({
      case: `a sleep of ${SLEEP_MS / 1000} s`,
      seen: afterReturn(await shownBy(tab), awakeAtMs, 'Away', serverSpokeAtMs(alice, awakeAtMs)),
    })
    await tab.close()
    await other.close()
  }

  async function loseNetwork(isTold: boolean): Promise<void> {
    const [alice, bob] = newPair()
    const other = await openTab(world.server, bob)
    const network = await openTcpProxy({ host: '127.0.0.1', port: world.wire.port })
    const tab = await openPage(engine, `http://127.0.0.1:${network.port}`, alice, bob)
    await untilShows(tab, 'Online')
    const lostAtMs = Date.now()
    network.fallSilent()
    if (isTold) await tab.setOffline?.(true)
    await sleep(CHANGE_MS)
    await other.ask('mutation { setStatus(status: BUSY) { viewer { id } } }')
    await sleep(lostAtMs + BLACK_MS - Date.now())
    const during = await shownBy(tab)
    // What is open stays black for ever: the machine is in another network now.
    network.leaveSilent()
    const backAtMs = Date.now()
    if (isTold) await tab.setOffline?.(false)
    await untilShows(tab, 'Busy')
    const staleAtMs = during.find(({ atMs, freshness }) => atMs >= lostAtMs && freshness !== 'Live')?.atMs
    const isLiveLater = during.some(({ atMs, freshness }) => staleAtMs && atMs > staleAtMs && freshness === 'Live')
    const stale = staleAtMs === undefined ? 'never stale' : `stale after ${seconds(staleAtMs - lostAtMs)} s`
    tell({
      case: `${isTold ? 'offline' : 'a black network'} for ${BLACK_MS / 1000} s`,
      seen: `${stale}${isLiveLater ? ', and Live again without a network' : ''}; after the return: ${afterReturn(await shownBy(tab), backAtMs, 'Busy', serverSpokeAtMs(alice, backAtMs))}`,
    })
    await tab.close()
    await network.close()
    await other.close()
  }

  /** When a connection that is open now was first heard after a moment, in epoch ms. */
  function serverSpokeAtMs(userId: string, afterMs: number): number {
    const { timeOrigin } = performance
    const heard = world.wire.sockets
      .filter((socket) => socket.userId === userId && socket.end === null)
      .flatMap(({ heardAtMs }) => heardAtMs.map((atMs) => atMs + timeOrigin))
    return Math.min(...heard.filter((atMs) => atMs >= afterMs))
  }

  await sideBySide()
  await watchEachOther()
  await loseNetwork(false)
  if (engine.ways.offline !== null) await loseNetwork(true)
  await sleepAndWake()
}

/** In a browser that stores nothing. */
export async function goThroughBlockedStorage(
  engine: Engine,
  world: PeopleWorld,
  tell: (seen: SeenCase) => void,
): Promise<void> {
  const [alice, bob] = newPair()
  const direct = `http://127.0.0.1:${world.wire.port}`
  const aliceTab = await openPage(engine, direct, alice, bob)
  const storage = await aliceTab.evaluate<string>(
    `(() => { try { return sessionStorage === null ? 'null' : 'there' } catch ({ name }) { return name } })()`,
  )
  const other = await openTab(world.server, bob)
  const parts = [await seenAfter(aliceTab, bob, 'comes', async () => {}, 'Online')]
  await aliceTab.evaluate('void (window.isOld = true)')
  await aliceTab.reload()
  await until(async () => (await inPage(aliceTab, 'window.isOld !== true && document.readyState')) === 'complete', {
    what: 'the reload',
    withinMs: PATIENCE_MS,
  })
  await record(aliceTab, bob)
  await untilShows(aliceTab, 'Online')
  parts.push('after a reload Alice is signed in again')
  await click(aliceTab, 'Busy')
  await untilOwnState(aliceTab, 'You are shown as busy.')
  await click(aliceTab, 'Go offline')
  await untilOwnState(aliceTab, 'You are offline: you left.')
  await click(aliceTab, 'Come back')
  await untilOwnState(aliceTab, 'You are shown as busy.')
  parts.push('she is busy, goes offline and comes back')
  tell({ case: 'blocked storage', seen: `\`sessionStorage\` is ${storage}; Bob ${parts.join('; ')}` })
  await aliceTab.close()
  await other.close()
}

function newPair(): readonly [string, string] {
  lastPair += 1
  return [`alice-p${lastPair}`, `bob-p${lastPair}`]
}

async function openPage(engine: Engine, site: string, userId: string, otherId: string): Promise<EngineTab> {
  const tab = await engine.open(`${site}/?user=${userId}`)
  await until(async () => inPage(tab, `document.getElementById('own-state') !== null`), {
    what: `the page of ${userId}`,
    withinMs: PATIENCE_MS,
  })
  await record(tab, otherId)
  await until(async () => (await lastShown(tab))?.freshness === 'Live', {
    what: `a live list for ${userId}`,
    withinMs: PATIENCE_MS,
  })
  return tab
}

/** From now on all that the page shows of its own person, of its list, and of another person is written down in it. */
function record(tab: EngineTab, otherId: string): Promise<void> {
  return tab.evaluate(`void (() => {
    const textOf = (selector) => document.querySelector(selector)?.textContent ?? ''
    window.recorded = []
    const look = () => {
      const row = [...document.querySelectorAll('#list li')].find((row) => row.textContent.includes(${JSON.stringify(otherId)}))
      const other = row?.querySelector('.status')?.textContent ?? null
      const shown = { ownState: textOf('#own-state'), freshness: textOf('#freshness'), other }
      const last = recorded.at(-1)
      if (last && Object.entries(shown).every(([key, value]) => last[key] === value)) return
      recorded.push({ atMs: Date.now(), ...shown })
    }
    new MutationObserver(look).observe(document.body, { subtree: true, childList: true, characterData: true, attributes: true })
    look()
  })()`)
}

/** Between two pages a browser may answer with nothing, or not at all. */
function inPage<Value>(tab: EngineTab, expression: string): Promise<Value | null> {
  return tab.evaluate<Value>(expression).catch(() => null)
}

async function shownBy(tab: EngineTab): Promise<readonly Shown[]> {
  return (await inPage<Shown[]>(tab, 'window.recorded')) ?? []
}

async function lastShown(tab: EngineTab): Promise<Shown | undefined> {
  return (await shownBy(tab)).at(-1)
}

/** Until the list is live, and shows the other person so; null: without them. */
async function untilShows(tab: EngineTab, other: string | null): Promise<void> {
  await until(
    async () => {
      const last = await lastShown(tab)
      return last?.freshness === 'Live' && last.other === other
    },
    { what: `the other person as ${other}`, withinMs: PATIENCE_MS, everyMs: 50 },
  )
}

async function untilOwnState(tab: EngineTab, words: string): Promise<void> {
  await until(async () => (await lastShown(tab))?.ownState === words, { what: words, withinMs: PATIENCE_MS })
}

async function seenAfter(
  tab: EngineTab,
  otherId: string,
  what: string,
  act: () => Promise<void>,
  other: string | null,
): Promise<string> {
  const beganAtMs = Date.now()
  await act()
  await untilShows(tab, other).catch((error: Error) => {
    throw new Error(`${otherId} ${what}: ${error.message}`)
  })
  const seen = (await shownBy(tab)).findLast((shown) => shown.other === other)
  const at = (await shownBy(tab)).find((shown) => shown.other === other && shown.atMs >= beganAtMs) ?? seen
  return `${what}: ${other ?? 'not in the list'} after ${seconds(Math.max(0, Number(at?.atMs) - beganAtMs))} s`
}

/** Clicks what has this label or these words, as soon as it can be clicked. */
async function click(tab: EngineTab, words: string): Promise<void> {
  const found = `[...document.querySelectorAll('.controls label, .controls button')]
    .find(({ textContent }) => textContent === ${JSON.stringify(words)})`
  const target = `(${found}?.control ?? ${found})`
  await until(async () => inPage(tab, `${target} && !${target}.matches(':disabled')`), { what: words })
  await tab.evaluate(`void ${target}.click()`)
}

/** What a page showed after the return from a sleep or an outage, until it was right. */
function afterReturn(shown: readonly Shown[], returnedAtMs: number, right: string, spokeAtMs: number): string {
  const before = shown.findLast(({ atMs }) => atMs < returnedAtMs)
  const after = shown.filter(({ atMs }) => atMs >= returnedAtMs)
  const isRight = (one: Shown) => one.freshness === 'Live' && one.other === right
  const firstRight = after.find(isRight)
  const parts: string[] = []
  if (before?.freshness === 'Live') {
    const doubted = after.find(({ freshness }) => freshness !== 'Live')
    parts.push(
      doubted === undefined
        ? 'never stale'
        : `Live from before for ${seconds(doubted.atMs - returnedAtMs, 2)} s, then stale`,
    )
  }
  const doubtedAtMs =
    before?.freshness === 'Live' ? (after.find(({ freshness }) => freshness !== 'Live')?.atMs ?? 0) : 0
  const wrong = after.filter((one) => one.atMs >= doubtedAtMs && one.freshness === 'Live' && !isRight(one))
  const early = after.filter((one) => one.freshness === 'Live' && one.atMs >= doubtedAtMs && one.atMs < spokeAtMs - 1)
  if (wrong.length > 0) parts.push(`Live and wrong: ${wrong.map(({ other }) => other).join(', ')}`)
  if (early.length > 0) parts.push('Live before the server has spoken')
  parts.push(`right after ${seconds(Number(firstRight?.atMs) - returnedAtMs)} s`)
  return parts.join(', ')
}

function seconds(ms: number, digits = 1): string {
  return String(Number((ms / 1000).toFixed(digits)))
}
