/**
 * Every block of TypeScript in docs/clients.md runs as it stands, in a program that brings what the page says an app has to
 * bring, and prints what came of it.
 */
import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { transformWithOxc } from 'vite'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { post } from '../../support/clients.ts'
import { startServer, type TestServer } from '../../support/server.ts'
import { until } from '../../support/wait.ts'

const ROOT = fileURLToPath(new URL('../../..', import.meta.url))
const PAGE = await readFile(new URL('../../../docs/clients.md', import.meta.url), 'utf8')
/**
 * But for the configurations of tools, whose tools typed-documents.test.ts runs, and for the client that is a whole program
 * and runs in readme.test.ts.
 */
const BLOCKS = [...PAGE.matchAll(/(<!-- tested -->\n)?```ts\n([\s\S]*?)```/g)]
  .filter(([, isProgram, code]) => !isProgram && !code?.includes('scalars'))
  .map(([, , code]) => String(code))

interface Program {
  /** A text that only its block has. */
  readonly of: string
  readonly before: string
  readonly after: string
  /** What it prints, at last when bob has come online. */
  readonly prints: string
}

const CLIENT = "import { createClient } from 'graphql-ws'\n"
const SEEN = "const seen = (change) => change.kind === 'JOIN' && change.user.id === 'bob' && console.log('bob came')\n"
const PROGRAMS: readonly Program[] = [
  {
    of: 'const headers =',
    before: '',
    after: `
      const body = JSON.stringify({ query: 'mutation { heartbeat { session { id isCurrent } } }' })
      const init = { method: 'POST', headers: { ...headers, 'content-type': 'application/json' }, body }
      const { data } = await (await fetch(http, init)).json()
      console.log(data.heartbeat.session.id === sessionId && data.heartbeat.session.isCurrent)`,
    prints: 'true',
  },
  {
    of: 'joinRoom(room)',
    before: `${CLIENT}
      const [url, myRooms] = [ws, ['hall', 'cellar']]
      const connectionParams = { authorization: 'Bearer ' + freshToken(), sessionId, rooms: ['hall'] }
      const joinRoom = (room) => console.log('joins ' + room)
      const client = `,
    after: "\nclient.subscribe({ query: '{ position }' }, { next() {}, error: console.error, complete() {} })",
    prints: 'joins cellar',
  },
  {
    of: 'leaveWithPage(',
    before: `${CLIENT}
      import { leaveWithPage } from './examples/leave-with-page.ts'
      const init = { method: 'POST', headers: { 'content-type': 'application/json', authorization: freshToken() } }
      const asked = await fetch(http, { ...init, body: JSON.stringify({ query: '{ onlineUsers { position } }' }) })
      const { data: page } = await asked.json()
      const apply = seen
      const readTheListAgain = () => console.log('reads the list again')`,
    after: `
      const old = { ...variables, after: '0123456789abcdef:1' }
      const error = ([{ extensions }]) => console.log(extensions.code)
      client.subscribe({ query, variables: old }, { next() {}, error, complete() {} })`,
    prints: 'POSITION_EXPIRED\nbob came',
  },
  {
    of: "from 'graphql-sse'",
    before: '',
    after: `
      const next = ({ data }) => seen(data.presenceChanged)
      const query = 'subscription { presenceChanged { kind user { id } } }'
      client.subscribe({ query }, { next, error: console.error, complete() {} })`,
    prints: 'bob came',
  },
  {
    of: 'new EventSource(',
    before: `
      import { EventSource } from 'eventsource'
      const apply = ({ data }) => seen(data.presenceChanged)
      const beginAgain = () => console.log('begins again')`,
    after: '',
    prints: 'bob came',
  },
  {
    of: 'sendBeacon(',
    // A browser's own beacon and event: tests/browser/other-origin.test.ts.
    before: `
      const addEventListener = (_name, listener) => setTimeout(listener)
      const navigator = {
        async sendBeacon(url, body) {
          const headers = { 'content-type': 'text/plain;charset=UTF-8' }
          console.log((await fetch(url, { method: 'POST', headers, body })).status)
        },
      }`,
    after: '',
    prints: '200',
  },
]

let server: TestServer
beforeAll(async () => {
  server = await startServer({ SESSION_TTL: '60s' })
})
afterAll(() => server.stop())

function programOf({ before, after }: Program, block: string): string {
  const imports = "import { WebSocket } from 'ws'\nglobalThis.WebSocket ??= WebSocket\n"
  const app = `
    const [http, ws] = ['${server.url}/graphql', '${server.wsUrl}']
    const sessionId = '${randomUUID()}'
    const freshToken = () => 'dev:alice'
    ${SEEN}`
  const own = block
    .replaceAll('ws://localhost:4000', server.url.replace('http', 'ws'))
    .replaceAll('http://localhost:4000', server.url)
  return [imports, app, before, own, after].join('\n')
}

describe('docs/clients.md', () => {
  it('has a program for each of its blocks', () => {
    expect(BLOCKS.map((block) => PROGRAMS.filter(({ of }) => block.includes(of)).length)).toEqual(PROGRAMS.map(() => 1))
  })

  it.each(PROGRAMS)('shows code that works: $of', { timeout: 60_000 }, async (program) => {
    const block = BLOCKS.find((code) => code.includes(program.of))
    const { code } = await transformWithOxc(programOf(program, String(block)), 'block.ts')
    const args = ['--import', 'tsx', '--input-type=module', '--eval', code]
    const child = spawn(process.execPath, args, { cwd: ROOT, stdio: ['ignore', 'pipe', 'pipe'] })
    let [printed, failed] = ['', '']
    child.stdout.on('data', (chunk) => {
      printed += chunk
    })
    child.stderr.on('data', (chunk) => {
      failed += chunk
    })
    try {
      await until(
        async () => {
          // Until it follows, it misses who comes.
          await post(server, 'dev:bob', 'mutation { heartbeat { nextHeartbeatInMs } }')
          await post(server, 'dev:bob', 'mutation { goOffline { viewer { id } } }')
          return printed.includes(program.prints) || child.exitCode !== null
        },
        { what: `what it prints: ${program.prints}`, withinMs: 30_000, everyMs: 100 },
      )
      expect([printed.trim().split('\n').slice(0, program.prints.split('\n').length).join('\n'), failed]).toEqual([
        program.prints,
        '',
      ])
    } finally {
      child.kill()
    }
  })
})
