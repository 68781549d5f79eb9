/** What the documents show is what a reader gets. */
import { execFile, spawn } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ERROR_CODES } from '../../src/presence/errors.ts'
import { post } from '../support/clients.ts'
import { type ServerProcess, startProcess } from '../support/process.ts'
import { embeddedData, type TestData } from '../support/server.ts'
import { until } from '../support/wait.ts'

const run = promisify(execFile)
const [readme, clients, errors] = await Promise.all(
  ['README.md', 'docs/clients.md', 'docs/errors.md'].map((file) =>
    readFile(new URL(`../../${file}`, import.meta.url), 'utf8'),
  ),
)

/** A block that is marked as tested, with its last line, a comment, as what it has to print. */
interface Block {
  readonly code: string
  readonly expected: string
}

function testedBlocks(document: string | undefined, language: 'sh' | 'ts'): Block[] {
  const blocks = [...String(document).matchAll(/<!-- tested -->\n```(\w+)\n([\s\S]*?)```/g)]
  return blocks
    .filter(([, ofBlock]) => ofBlock === language)
    .map(([, , text]) => {
      const lines = String(text).trimEnd().split('\n')
      return { code: lines.slice(0, -1).join('\n'), expected: String(lines.at(-1)).replace(/^(#|\/\/) /, '') }
    })
}

describe('the documents', () => {
  let server: ServerProcess
  let data: TestData
  beforeAll(async () => {
    data = await embeddedData()
    server = await startProcess({ ...data.settings, HEARTBEAT_INTERVAL: '30s', SESSION_TTL: '75s' })
  })
  afterAll(async () => {
    await server.end('SIGTERM')
    await data.drop()
  })

  it('show commands that print what they say', async () => {
    const blocks = [...testedBlocks(readme, 'sh'), ...testedBlocks(clients, 'sh')]
    expect(blocks.length).toBe(3)
    for (const { code, expected } of blocks) {
      const { stdout } = await run('sh', ['-c', code.replaceAll('http://localhost:4000', server.url)])
      expect(stdout.trim()).toBe(expected)
    }
  })

  it('show a client that prints what it says', async () => {
    const [block, ...others] = testedBlocks(clients, 'ts')
    expect(others).toEqual([])
    // A browser has `WebSocket`, and so has Node from version 22 on.
    const globals = "import { WebSocket } from 'ws'\nglobalThis.WebSocket = WebSocket\n"
    const code = String(block?.code).replace('ws://localhost:4000', server.url.replace('http', 'ws'))
    const client = spawn(process.execPath, ['--input-type=module', '--eval', globals + code], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    let printed = ''
    client.stdout.on('data', (chunk) => {
      printed += chunk
    })
    try {
      await until(
        async () => {
          // Until it follows, it misses who comes.
          await post(server, 'dev:bob', 'mutation { heartbeat { nextHeartbeatInMs } }')
          await post(server, 'dev:bob', 'mutation { goOffline { viewer { id } } }')
          return printed.split('\n').includes(String(block?.expected))
        },
        { what: 'the line that the page shows' },
      )
    } finally {
      client.kill()
    }
  })

  it('name every error code', () => {
    for (const code of Object.keys(ERROR_CODES)) expect(errors).toContain(`\`${code}\``)
  })
})
