import { expect, it } from 'vitest'
import { NODE_LINES, sentenceOf, whyUnsafe } from '../../src/versions.ts'
import { cleanupsAfterEach } from '../support/cleanup.ts'
import { startProcess } from '../support/process.ts'
import { embeddedData } from '../support/server.ts'

const cleanups = cleanupsAfterEach()

it('says at the start what is known against the Node that it runs on, and nothing where nothing is', async () => {
  const data = await embeddedData()
  cleanups.push(data.drop)
  const server = await startProcess({ ...data.settings, LOG_LEVEL: 'info' })
  cleanups.push(() => server.end('SIGTERM'))
  const unsafe = whyUnsafe('Node', process.versions.node, NODE_LINES)
  const said = server.lines.filter(({ product }) => product === 'Node')
  expect(said.map(({ msg, level, least }) => ({ msg, level, least }))).toEqual(
    unsafe === null ? [] : [{ msg: sentenceOf(unsafe), level: 40, least: unsafe.least }],
  )
})
