/** What happens to the pages of people, case by case: what a browser does then, and what the server and others see. */
import { setTimeout as sleep } from 'node:timers/promises'
import { openTab, post, type SeenChange } from '../../tests/support/clients.ts'
import { until } from '../../tests/support/wait.ts'
import { type Engine, type EngineTab, followLink, goBack, inTime } from './engine.ts'
import type { SeenSocket, Wire } from './wire.ts'

export interface PageKind {
  readonly name: string
  url(userId: string): string
  /** What it says of its connection and its person: an expression. */
  readonly state: string
  /** Whether it says that its person is online. */
  isOnline(state: string): boolean
}

export interface World {
  readonly server: { readonly url: string; readonly wsUrl: string }
  readonly wire: Wire
  /** A page of another origin. */
  readonly elsewhere: string
  /** What an observer saw. */
  readonly changes: readonly SeenChange[]
}

export interface Seen {
  readonly case: string
  /** How the socket ended, as the server sees it. */
  readonly close: string
  /** When others saw the LEAVE, after the case began. */
  readonly leave: string
  readonly showed: string
}

/** Longer than what is gone may be shown: 31 s, and a busy machine. */
const LONGEST_MS = 45_000
/** Longer than a stock client waits before it tries again the second time. */
const BACK_MS = 20_000
/** Longer than `CLOSE_GRACE` and a sweep: what has caused no LEAVE by then causes none. */
const SETTLED_MS = 9000

let lastUser = 0

export async function watchWorld(server: World['server']): Promise<{ changes: SeenChange[]; close(): Promise<void> }> {
  const tab = await openTab(server, 'watcher', { observer: true })
  return { changes: tab.follow(), close: () => tab.close() }
}

/** Goes through all cases, and tells each as soon as it has been seen. */
export async function goThrough(
  engine: Engine,
  kind: PageKind,
  world: World,
  tell: (seen: Seen) => void,
): Promise<void> {
  async function arrive(name: string): Promise<Visit> {
    lastUser += 1
    const userId = `${name}-${lastUser}`
    const tab = await engine.open(kind.url(userId))
    await until(() => changesOf(userId, 'JOIN').length > 0, { what: `the JOIN of ${userId}`, withinMs: 30_000 })
    await until(async () => kind.isOnline(await stateOf(tab).catch(() => '')), {
      what: `${userId} on their own page`,
      withinMs: 30_000,
    })
    return { userId, tab, socket: socketsOf(userId)[0] as SeenSocket, startedAtMs: performance.now() }
  }

  function changesOf(userId: string, changeKind: SeenChange['kind'], sinceMs = 0): readonly SeenChange[] {
    return world.changes.filter(
      (change) => change.user.id === userId && change.kind === changeKind && change.receivedAtMs >= sinceMs,
    )
  }

  function socketsOf(userId: string): readonly SeenSocket[] {
    return world.wire.sockets.filter((socket) => socket.userId === userId)
  }

  function stateOf(tab: EngineTab): Promise<string> {
    return tab.evaluate<string>(kind.state)
  }

  async function untilLeave(userId: string, sinceMs: number): Promise<string> {
    await until(() => leaves(userId, sinceMs) !== 'none', { withinMs: LONGEST_MS }).catch(() => {})
    const seen = leaves(userId, sinceMs)
    return seen === 'none' ? `none within ${LONGEST_MS / 1000} s` : seen
  }

  /** @returns what the page said on the way, and whether and when it said that its person is online */
  async function untilBack(tab: EngineTab, sinceMs: number): Promise<string> {
    const said: string[] = []
    const isBack = await until(
      async () => {
        // What is asked just while the page goes may never be answered.
        const state = await inTime(stateOf(tab), 'the state', 3000).catch(() => null)
        if (state !== null && state.trim() !== '' && said.at(-1) !== state) said.push(state)
        return state !== null && kind.isOnline(state)
      },
      { withinMs: BACK_MS, everyMs: 20 },
    ).catch(() => false)
    const when = isBack ? `after ${seconds(performance.now() - sinceMs)} s` : `not back within ${BACK_MS / 1000} s`
    return `${when}: ${said.join(' → ')}`
  }

  async function leaveByLink(): Promise<void> {
    const { userId, tab, socket } = await arrive('leaves')
    await tab.evaluate('void (window.isKept = true)')
    const leftAtMs = performance.now()
    await followLink(tab, world.elsewhere)
    const leave = await untilLeave(userId, leftAtMs)
    const close = endOf(socket, leftAtMs)
    tell({ case: 'leave by a link', close, leave, showed: '–' })

    const backAtMs = performance.now()
    await goBack(tab)
    const showed = await untilBack(tab, backAtMs)
    const isKept = await tab.evaluate<boolean>('window.isKept === true')
    tell({
      case: 'come back after the LEAVE',
      close: close === 'open' ? endOf(socket, backAtMs) : '–',
      leave: '–',
      showed: `${isKept ? 'kept' : 'loaded again'}; ${showed}`,
    })
    await tab.close()
  }

  async function comeBackSoon(): Promise<void> {
    const { userId, tab, socket } = await arrive('returns')
    await tab.evaluate('void (window.isKept = true)')
    const leftAtMs = performance.now()
    await followLink(tab, world.elsewhere)
    await sleep(2000)
    const backAtMs = performance.now()
    await goBack(tab)
    const showed = await untilBack(tab, backAtMs)
    const isKept = await tab.evaluate<boolean>('window.isKept === true')
    await settle()
    // The page may have said first what it said before it was left.
    const settled = await stateOf(tab)
    tell({
      case: 'come back after 2 s',
      close: endOf(socket, leftAtMs),
      leave: leaves(userId, leftAtMs),
      showed: `${isKept ? 'kept' : 'loaded again'}; ${showed}${showed.endsWith(settled) ? '' : ` → ${settled}`}`,
    })
    await tab.close()
  }

  async function close(): Promise<void> {
    const { userId, tab, socket } = await arrive('closes')
    const closedAtMs = performance.now()
    await tab.close()
    const leave = await untilLeave(userId, closedAtMs)
    tell({ case: 'close', close: endOf(socket, closedAtMs), leave, showed: '–' })
  }

  async function reload(): Promise<void> {
    const { userId, tab, socket } = await arrive('reloads')
    const reloadedAtMs = performance.now()
    await tab.reload()
    await until(() => socketsOf(userId).length > 1, { what: 'the next socket' })
    const showed = await untilBack(tab, reloadedAtMs)
    await settle()
    tell({
      case: 'reload',
      close: endOf(socket, reloadedAtMs),
      leave: leaves(userId, reloadedAtMs),
      showed: `${showed}; ${await sessionsOf(userId)}`,
    })
    await tab.close()
  }

  async function duplicate(): Promise<void> {
    const { userId, tab, socket, startedAtMs } = await arrive('duplicates')
    const copy = await tab.duplicate()
    const showed = await untilBack(copy, performance.now())
    // The server asks the first tab whether it is there, and waits for `PONG_TIMEOUT`.
    await sleep(2000)
    await settle()
    const sessions = await sessionsOf(userId)
    const first = kind.isOnline(await stateOf(tab)) ? 'the first says the same' : await stateOf(tab)
    tell({
      case: 'duplicate',
      close: endOf(socket, startedAtMs),
      leave: leaves(userId, startedAtMs),
      showed: `the copy ${showed}; ${first}; ${sessions}`,
    })
    await copy.close()
    await tab.close()
  }

  async function freezeAndThaw(): Promise<void> {
    const { userId, tab, socket } = await arrive('freezes')
    const frozenAtMs = performance.now()
    await tab.freeze()
    const leave = await untilLeave(userId, frozenAtMs)
    tell({ case: 'freeze', close: endOf(socket, frozenAtMs), leave, showed: '–' })
    await tab.thaw()
    await tab.show()
    const thawedAtMs = performance.now()
    // Until then the page may say what it said before it was frozen.
    const hasLeft = !leave.startsWith('none')
    const join = () => changesOf(userId, 'JOIN', thawedAtMs).length > 0
    if (hasLeft) await until(join, { withinMs: BACK_MS }).catch(() => {})
    const showed =
      hasLeft && !join()
        ? `not back within ${BACK_MS / 1000} s: ${await stateOf(tab)}`
        : await untilBack(tab, thawedAtMs)
    tell({ case: 'thaw', close: '–', leave: '–', showed })
    await tab.close()
  }

  async function loseConnection(how: 'end' | 'reset'): Promise<void> {
    const { userId, tab, socket } = await arrive('loses')
    const cutAtMs = performance.now()
    socket.cut(how)
    await until(() => socketsOf(userId).length > 1, { withinMs: BACK_MS }).catch(() => {})
    const isBack = socketsOf(userId).length > 1
    const showed = isBack ? await untilBack(tab, cutAtMs) : `not back within ${BACK_MS / 1000} s: ${await stateOf(tab)}`
    tell({
      case: how === 'end' ? 'the connection ends, without a close frame' : 'the connection is reset',
      close: '1006',
      leave: leaves(userId, cutAtMs),
      showed,
    })
    await tab.close()
  }

  async function navigateSixTimes(): Promise<void> {
    const { userId, tab, startedAtMs } = await arrive('navigates')
    for (let count = 1; count <= 6; count += 1) {
      await followLink(tab, `${kind.url(userId)}&page=${count}`)
      await until(() => socketsOf(userId).length > count, { what: `the socket of page ${count}`, withinMs: 30_000 })
      await until(async () => kind.isOnline(await stateOf(tab).catch(() => '')), { what: `page ${count}` })
    }
    const atOnce = await sessionsOf(userId)
    // By then the replaced sockets have been asked whether their pages are there.
    await until(() => socketsOf(userId).filter(({ end }) => end === null).length <= 1, {
      what: 'one socket',
      withinMs: LONGEST_MS,
    }).catch(() => {})
    tell({
      case: 'six navigations',
      close: socketsOf(userId)
        .slice(0, -1)
        .map((socket) => endOf(socket, startedAtMs).replace(/ after.*/, ''))
        .filter((end, index, all) => all.indexOf(end) === index)
        .join(', '),
      leave: leaves(userId, startedAtMs),
      showed: `${atOnce} at once; then ${await sessionsOf(userId)}`,
    })
    await tab.close()
  }

  function leaves(userId: string, sinceMs: number): string {
    const [leave] = changesOf(userId, 'LEAVE', sinceMs)
    return leave === undefined ? 'none' : `${seconds(leave.receivedAtMs - sinceMs)} s`
  }

  async function sessionsOf(userId: string): Promise<string> {
    const { data } = await post(world.server, `dev:${userId}`, '{ viewer { sessions { id isAttached } } }')
    const sessions: readonly { isAttached: boolean }[] = data?.viewer.sessions
    const attached = sessions.filter(({ isAttached }) => isAttached).length
    return `${sessions.length} ${sessions.length === 1 ? 'session' : 'sessions'}${attached === sessions.length ? '' : `, ${attached} attached`}`
  }

  await leaveByLink()
  await comeBackSoon()
  await close()
  await reload()
  await duplicate()
  await freezeAndThaw()
  await navigateSixTimes()
  await loseConnection('end')
  await loseConnection('reset')
}

interface Visit {
  readonly userId: string
  readonly tab: EngineTab
  readonly socket: SeenSocket
  readonly startedAtMs: number
}

function settle(): Promise<void> {
  return sleep(SETTLED_MS)
}

function endOf({ end }: SeenSocket, sinceMs: number): string {
  if (end === null) return 'open'
  const after = `after ${seconds(end.atMs - sinceMs)} s`
  if (end.by === 'server') return `the server ended it ${after}`
  return end.code === null ? `no close frame (1006) ${after}` : `${end.code} ${after}`
}

function seconds(ms: number): number {
  return Math.round(ms / 100) / 10
}
