import { afterEach, describe, expect, it } from 'vitest'
import { Activity } from '../../client/src/activity.ts'
import { until } from '../support/wait.ts'

describe('activity', () => {
  const opened = new Set<Activity>()
  afterEach(() => {
    for (const activity of opened) activity.stop()
    opened.clear()
  })

  /** @param answers - whether the server counted it, one for each heartbeat; true where there is none */
  function watch(intervalMs: number, answers: readonly boolean[] = []) {
    const sent: number[] = []
    const startedAtMs = performance.now()
    const connection = { isOpen: true }
    const activity = new Activity({
      intervalMs: () => (connection.isOpen ? intervalMs : null),
      send: async () => {
        sent.push(performance.now() - startedAtMs)
        return answers[sent.length - 1] ?? true
      },
    })
    opened.add(activity)
    return { activity, sent, connection }
  }

  it('is told at once the first time', async () => {
    const { activity, sent } = watch(60_000)
    activity.notice()
    await until(() => sent.length === 1)
  })

  it('is told at most once an interval', async () => {
    const { activity, sent } = watch(300)
    activity.notice()
    activity.notice()
    await until(() => sent.length === 1)
    activity.notice()
    await until(() => sent.length === 2)
    // Timers may be a millisecond early.
    expect(Number(sent[1]) - Number(sent[0])).toBeGreaterThanOrEqual(295)
  })

  it('waits an interval where the start of the session was activity', async () => {
    const { activity, sent } = watch(300)
    activity.counted()
    activity.notice()
    await until(() => sent.length === 1)
    expect(sent[0]).toBeGreaterThanOrEqual(295)
  })

  it('waits for a connection, and is told again where its answer was lost', async () => {
    const { activity, sent, connection } = watch(60_000, [false, true])
    connection.isOpen = false
    activity.notice()
    expect(sent).toEqual([])
    connection.isOpen = true
    activity.connected()
    await until(() => sent.length === 1)
    activity.connected()
    await until(() => sent.length === 2)
  })

  it('is not told where it was long before the connection came', async () => {
    const { activity, sent, connection } = watch(50)
    connection.isOpen = false
    activity.notice()
    const noticedAtMs = performance.now()
    await until(() => performance.now() - noticedAtMs > 100)
    connection.isOpen = true
    activity.connected()
    activity.notice()
    await until(() => sent.length === 1)
    expect(sent[0]).toBeGreaterThanOrEqual(100)
  })
})
