import { describe, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import { type AppOperation, type AppResult, execute } from '../../client/src/execute.ts'
import type { Presence } from '../../client/src/index.ts'
import { createTestPresence } from '../../client/src/testing/index.ts'
import { openTab, post } from '../support/clients.ts'
import { until } from '../support/wait.ts'
import { presenceOf, serverForTests } from './kit.ts'

describe("an app's own operation over the kit's connection", () => {
  const at = serverForTests({ SESSION_TTL: '60s', CLOSE_GRACE: '0ms' })

  function connect(userId: string): Presence {
    return presenceOf(at.near, userId)
  }

  function run(presence: Presence, operation: AppOperation) {
    const heard = { results: [] as AppResult[], errors: [] as unknown[], isComplete: false }
    const stop = execute(presence, operation, {
      next: (result) => void heard.results.push(result),
      error: (error) => void heard.errors.push(error),
      complete: () => {
        heard.isComplete = true
      },
    })
    return { ...heard, stop, isComplete: () => heard.isComplete }
  }

  it('answers a query that was asked before there was a connection', async () => {
    const asked = run(connect('alice'), { kind: 'query', query: '{ viewer { user { id } } }' })
    await until(asked.isComplete)
    expect(asked.results).toEqual([{ data: { viewer: { user: { id: 'alice' } } } }])
  })

  it('asks a query again whose connection was lost before the answer', async () => {
    const presence = connect('anna')
    await until(() => presence.link.getSnapshot().state === 'open')
    at.wire.hold(['down'])
    const asked = run(presence, { kind: 'query', query: '{ onlineCount }' })
    at.wire.cut()
    at.wire.release()
    await until(asked.isComplete)
    expect(asked.results).toHaveLength(1)
  })

  it('sends a mutation once, and says that its answer was lost', async () => {
    const presence = connect('ada')
    await until(() => presence.link.getSnapshot().state === 'open')
    const query = 'mutation { setStatus(status: BUSY) { viewer { status } } }'
    const done = run(presence, { kind: 'mutation', query })
    await until(done.isComplete)
    at.wire.hold(['down'])
    const lost = run(presence, { kind: 'mutation', query })
    at.wire.cut()
    at.wire.release()
    await until(() => lost.errors.length > 0)
    expect(lost.errors).toMatchObject([{ code: 'CLOSED' }])
    expect(lost.results).toEqual([])
  })

  it('goes on with a subscription after a lost connection, without a gap', async () => {
    const presence = connect('bea')
    const changes = run(presence, {
      kind: 'subscription',
      query: 'subscription ($after: String) { presenceChanged(after: $after) { kind position user { id } } }',
    })
    const seen = () =>
      changes.results.map(({ data }: any) => `${data.presenceChanged.kind} ${data.presenceChanged.user.id}`)
    await until(() => presence.link.getSnapshot().state === 'open')
    await openTab(at.server, 'early')
    await until(() => seen().includes('JOIN early'))
    at.wire.refuse()
    await until(() => presence.link.getSnapshot().state === 'waiting')
    await openTab(at.server, 'meanwhile')
    at.wire.mend()
    await until(() => seen().includes('JOIN meanwhile'))
    expect(seen().filter((line) => line.startsWith('JOIN') && !line.endsWith('bea'))).toEqual([
      'JOIN early',
      'JOIN meanwhile',
    ])
    expect(changes.errors).toEqual([])
    changes.stop()
  })

  it('says that there is a gap where the document cannot go on', async () => {
    const presence = connect('carl')
    const blind = run(presence, { kind: 'subscription', query: 'subscription { presenceChanged { kind } }' })
    const count = run(presence, { kind: 'subscription', query: 'subscription { onlineCountChanged { count } }' })
    await until(() => count.results.length > 0)
    at.wire.cut()
    await until(() => blind.errors.length > 0)
    expect(blind.errors).toMatchObject([{ code: 'POSITION_EXPIRED' }])
    const before = count.results.length
    await until(() => count.results.length > before)
    expect(count.errors).toEqual([])
  })

  it('begins a subscription again, after its last position, where the server could not go on with it', async () => {
    const sockets: WebSocket[] = []
    const sent: string[] = []
    class Recording extends WebSocket {
      constructor(...args: ConstructorParameters<typeof WebSocket>) {
        super(...args)
        sockets.push(this)
      }
      override send(text: any, ...rest: any[]): void {
        sent.push(String(text))
        super.send(text, ...rest)
      }
    }
    const presence = presenceOf(at.server, 'cora', { webSocketImpl: Recording })
    const query = 'subscription ($after: String) { presenceChanged(room: "retry", after: $after) { kind position } }'
    const changes = run(presence, { kind: 'subscription', query })
    const count = run(presence, {
      kind: 'subscription',
      query: 'subscription { onlineCountChanged(room: "retry") { count } }',
    })
    const begins = (part: string) =>
      sent.map((text) => JSON.parse(text)).filter((one) => one.payload?.query?.includes(part))
    await until(() => presence.link.getSnapshot().state === 'open')
    await openTab(at.server, 'curt', { rooms: ['retry'] })
    await until(() => changes.results.length > 0)
    const position = (changes.results[0] as any).data.presenceChanged.position

    // As the server does while Redis is away, and when its process stops.
    const payload = [{ message: 'Away.', extensions: { code: 'UNAVAILABLE', retryAfterMs: 50 } }]
    const tell = (message: object) => sockets[0]?.onmessage?.({ data: JSON.stringify(message) } as any)
    tell({ type: 'error', id: begins('presenceChanged')[0].id, payload })
    tell({ type: 'complete', id: begins('onlineCountChanged')[0].id })
    await until(() => begins('presenceChanged').length === 2 && begins('onlineCountChanged').length === 2)
    expect(begins('presenceChanged')[1].payload.variables).toEqual({ after: position })
    await openTab(at.server, 'conny', { rooms: ['retry'] })
    await until(() => changes.results.length > 1)
    expect([changes.errors, count.errors, changes.isComplete(), count.isComplete()]).toEqual([[], [], false, false])
  })

  it("hands on the server's errors as they came", async () => {
    const presence = connect('dora')
    const refused = run(presence, {
      kind: 'subscription',
      query: 'subscription { presenceChanged(room: "") { kind } }',
    })
    await until(() => refused.errors.length > 0)
    expect(refused.errors).toMatchObject([[{ extensions: { code: 'BAD_USER_INPUT', argument: 'room' } }]])
    await post(at.server, 'dev:dora', '{ onlineCount }')
  })

  it('ends with the reason where the server refuses this client for good', async () => {
    const presence = presenceOf(at.near, 'emma', { token: 'of nobody' })
    const early = run(presence, { kind: 'query', query: '{ onlineCount }' })
    await until(() => early.errors.length > 0)
    const late = run(presence, { kind: 'subscription', query: 'subscription { onlineCountChanged { count } }' })
    expect([early.errors, late.errors]).toMatchObject([[{ code: 'UNAUTHENTICATED' }], [{ code: 'UNAUTHENTICATED' }]])
  })

  it('says that a presence for tests has no connection', () => {
    expect(() => run(createTestPresence(), { kind: 'query', query: '{ position }' })).toThrow('has no connection')
  })
})
