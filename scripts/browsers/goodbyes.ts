/** The last words of a page without a socket: whether they arrive, by each way and each end of the page. */
import { randomUUID } from 'node:crypto'
import { post } from '../../tests/support/clients.ts'
import { until } from '../../tests/support/wait.ts'
import { type Engine, type EngineTab, followLink } from './engine.ts'

export interface SeenGoodbye {
  readonly way: string
  readonly end: string
  readonly seen: string
}

export interface GoodbyeWorld {
  readonly server: { readonly url: string }
  /** Two pages of another origin. */
  readonly page: string
  readonly elsewhere: string
}

/** Without a goodbye the session would live on for `SESSION_TTL`, 75 s. */
const LONGEST_MS = 20_000

const WAYS: Readonly<Record<string, (url: string, body: string, token: string) => string>> = {
  '`fetch` with `keepalive`': (url, body, token) =>
    `fetch(${url}, { method: 'POST', keepalive: true, body: ${body}, headers: { 'content-type': 'application/json', authorization: ${token} } })`,
  '`sendBeacon`': (url, body, token) =>
    `navigator.sendBeacon(${url}, JSON.stringify({ ...JSON.parse(${body}), extensions: { authorization: ${token} } }))`,
}

export async function sayGoodbyes(
  engine: Engine,
  { server, page, elsewhere }: GoodbyeWorld,
  tell: (seen: SeenGoodbye) => void,
): Promise<void> {
  const ENDS: Readonly<Record<string, (tab: EngineTab) => Promise<void>>> = {
    'a link': (tab) => followLink(tab, elsewhere),
    'its cross': (tab) => tab.close(),
  }
  for (const [way, words] of Object.entries(WAYS)) {
    for (const [end, leave] of Object.entries(ENDS)) {
      const userId = `goodbye-${randomUUID()}`
      const sessionId = randomUUID()
      await post(server, `dev:${userId}`, `mutation { heartbeat(sessionId: "${sessionId}") { expiresAt } }`)
      const tab = await engine.open(page)
      // A tab may still have its first, empty document, whose handlers are gone with it.
      const where = `document.readyState === 'complete' ? location.href : ''`
      await until(async () => (await tab.evaluate<string>(where)) === page, { what: 'the page', withinMs: 10_000 })
      const body = JSON.stringify({
        query: `mutation { goOffline(sessionId: "${sessionId}") { viewer { isOnline } } }`,
      })
      const [url, text, token] = [`${server.url}/graphql`, body, `Bearer dev:${userId}`].map((part) =>
        JSON.stringify(part),
      )
      await tab.evaluate(`void addEventListener('pagehide', () => void ${words(url ?? '', text ?? '', token ?? '')})`)
      const leftAtMs = performance.now()
      await leave(tab)
      const isOffline = async () =>
        (await post(server, 'dev:watcher', `{ user(id: "${userId}") { isOnline } }`)).data?.user?.isOnline === false
      const seen = await until(isOffline, { withinMs: LONGEST_MS, everyMs: 20 }).then(
        () => `offline after ${((performance.now() - leftAtMs) / 1000).toFixed(1)} s`,
        () => `still online after ${LONGEST_MS / 1000} s`,
      )
      tell({ way, end, seen })
    }
  }
}
