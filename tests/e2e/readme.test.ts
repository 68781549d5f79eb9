import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ERROR_CODES } from '../../src/presence/errors.ts'
import { type ServerProcess, startProcess } from '../support/process.ts'
import { embeddedData, type TestData } from '../support/server.ts'

const run = promisify(execFile)
const readme = await readFile(new URL('../../README.md', import.meta.url), 'utf8')

/** The shell blocks that the README says to be tested, in their order. */
function testedBlocks(): { readonly command: string; readonly expected: string }[] {
  const blocks = [...readme.matchAll(/<!-- tested -->\n```sh\n([\s\S]*?)```/g)].map((match) => String(match[1]))
  return blocks.map((block) => {
    const lines = block.trimEnd().split('\n')
    return { command: lines.slice(0, -1).join('\n'), expected: String(lines.at(-1)).replace(/^# /, '') }
  })
}

describe('the README', () => {
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

  it('shows commands that answer what it says', async () => {
    const blocks = testedBlocks()
    expect(blocks.length).toBeGreaterThanOrEqual(3)
    for (const { command, expected } of blocks) {
      const { stdout } = await run('sh', ['-c', command.replaceAll('http://localhost:4000', server.url)])
      expect(stdout.trim()).toBe(expected)
    }
  })

  it('names every error code', () => {
    for (const code of Object.keys(ERROR_CODES)) expect(readme).toContain(`\`${code}\``)
  })
})
