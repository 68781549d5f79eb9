/**
 * A replica that lags becomes the master: its log lacks the last changes, and goes on with others under the same
 * numbers. Nobody may follow one log where they followed the other.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { cleanupsAfterEach } from '../support/cleanup.ts'
import { startRedis } from '../support/redis.ts'
import { command, type RedisProcess } from '../support/redis-process.ts'
import { openTcpProxy } from '../support/tcp-proxy.ts'
import { until } from '../support/wait.ts'
import {
  askOverHttp,
  createPeople,
  describeWorld,
  failWith,
  isOfRoom,
  type Member,
  ROOM,
  untilConnected,
  untilRight,
  watchAll,
  wrongSockets,
} from './people.ts'
import { createRandom } from './random.ts'
import { type Node, openWorld } from './world.ts'

const STAYING = 9
/** Announcements, and the calm where the last sweep that the replica knows of is long ago; the grace, and five seconds. */
const REPAIR_MS = 2000 + 2000 + 3000 + 5000
/** REDIS_TIME_LIMIT, and a second to connect again. */
const NOTICE_MS = 3000

const cleanups = cleanupsAfterEach()

it.each([
  { form: 'before anybody has written on', mustWriteOn: false, grace: '1500ms' },
  // Whoever comes last to the new master is not yet seen to have left.
  { form: 'after another node has written on, so that the numbers look right', mustWriteOn: true, grace: '3s' },
])(
  'a node that comes to a log which was forked, $form, follows it no further',
  { timeout: 90_000 },
  async ({ mustWriteOn, grace }) => {
    const world = await openWorld({ settings: { RECONNECT_GRACE: grace } })
    cleanups.push(world.close)
    const { nodes, redis: master } = world
    const lag = await openTcpProxy(master)
    cleanups.push(lag.close)
    const replica = await startRedis({ replicaOf: { ...master, port: lag.port } })
    cleanups.push(replica.stop)
    const seqOn = async (server: RedisProcess): Promise<number> =>
      Number(await command(server, 'HGET', `{rollcall:${world.app}}:meta`, 'seq'))

    const people = createPeople({ nodes, random: createRandom(Date.now()) })
    cleanups.push(people.close)
    const enter = (id: string, node: Node): Member => people.enter({ id, at: () => node })
    const staying = Array.from({ length: STAYING }, (_, index) => enter(`staying-${index}`, nodes[index % 3] as Node))
    const leaving = nodes.map((node, index) => enter(`leaving-${index}`, node))
    await untilConnected([...staying, ...leaving].map(({ person }) => person))
    const watchers = watchAll(nodes)
    cleanups.push(() => Promise.all(watchers.map((watcher) => watcher.stop())))
    const report = () =>
      describeWorld({
        nodes,
        watchers,
        people: [...people.members.values()].map(({ person }) => person),
        truth: people.truth,
      })
    await untilRight(watchers, people.truth, 10_000).catch(failWith(report))
    await until(async () => (await seqOn(replica)) === (await seqOn(master)), { what: 'a replica that has it all' })
    const since = new Map(staying.map(({ person }) => [person, person.connectedSinceMs()]))

    // What the replica does not get.
    lag.fallSilent()
    const late = nodes.map((node, index) => enter(`late-${index}`, node))
    await untilConnected(late.map(({ person }) => person))
    for (const member of leaving) await people.leave(member)
    const [first, second, third, fourth] = staying as [Member, Member, Member, Member]
    await people.changeStatus(first)
    await people.changeStatus(second)
    await people.changeRoom(third)
    await people.changeRoom(fourth)
    await untilRight(watchers, people.truth, 10_000).catch(failWith(report))
    const masterSeq = await seqOn(master)
    const lostCount = masterSeq - (await seqOn(replica))
    expect(lostCount).toBeGreaterThan(5)

    await master.kill()
    const [ahead, ...behind] = nodes as [Node, Node, Node]
    for (const { wire } of behind) wire.refuse()
    await replica.promote()
    ahead.wire.retarget(replica.port)
    if (mustWriteOn) {
      await until(async () => (await askOverHttp(ahead, 'reader', '{ onlineUsers { totalCount } }'))?.data, {
        what: 'an answer of the node that is there first',
      }).catch(failWith(report))
      enter('later', ahead)
      await until(
        async () => {
          await people.changeStatus(late[0] as Member, ahead)
          return (await seqOn(replica)) > masterSeq
        },
        { everyMs: 0, what: 'a log as long as the other' },
      ).catch(failWith(report))
    }
    for (const { wire } of behind) {
      wire.retarget(replica.port)
      wire.mend()
    }
    const promotedAtMs = performance.now()
    const leftMs = () => Math.max(0, promotedAtMs + REPAIR_MS - performance.now())
    await people.settle(leftMs()).catch(failWith(report))
    // What changes after it has to arrive as well.
    enter('last', nodes[2] as Node)
    await people.changeStatus(second, nodes[1])
    await people.changeRoom(third)
    await people.settle(leftMs()).catch(failWith(report))
    await untilRight(watchers, people.truth, leftMs()).catch(failWith(report))
    const rightMs = performance.now() - promotedAtMs

    const stays = new Set(staying.map(({ person }) => person.id))
    for (const watcher of watchers) {
      const { name, problems, changes } = watcher
      expect([name, problems, watcher.expiredCount()], report()).toEqual([name, [], 1])
      if (isOfRoom(watcher)) continue
      expect(
        changes.filter(({ kind, userId }) => kind === 'LEAVE' && stays.has(userId)),
        report(),
      ).toEqual([])
    }
    const persons = staying.map(({ person }) => person)
    for (const person of persons) expect([person.id, person.connectedSinceMs()]).toEqual([person.id, since.get(person)])
    const inRoom = new Map(staying.map((member) => [member.person, member]))
    // A connection that hung since before the other master is noticed late: a heartbeat can be UNAVAILABLE until then.
    await sleep(Math.max(0, promotedAtMs + NOTICE_MS - performance.now()))
    for (const node of nodes) await until(async () => (await fetch(`${node.url()}/readyz`)).ok, { what: 'readiness' })
    const wrong = await wrongSockets(persons, (person) => (inRoom.get(person)?.isInRoom ? [ROOM] : []))
    expect(wrong, report()).toEqual([])
    process.stdout.write(
      `${lostCount} changes were lost; right ${Math.round(rightMs)} ms after the last node was there\n`,
    )
  },
)
