/**
 * People who come, go, change rooms and statuses on whatever node, and the truth about them: what every subscriber has
 * to see once all is well again.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { type Answer, post } from '../support/clients.ts'
import { until } from '../support/wait.ts'
import { createPerson, type Person, type Visitor } from './person.ts'
import type { Random } from './random.ts'
import { type Watcher, watch } from './watcher.ts'
import type { Node } from './world.ts'

/** The room that some are in, and that some watch. */
export const ROOM = 'hall'

export interface Member {
  readonly person: Person
  status: 'ONLINE' | 'BUSY'
  isInRoom: boolean
  /** What it was asked for and nobody has confirmed yet. */
  readonly unconfirmed: Set<'status' | 'room'>
}

export type People = ReturnType<typeof createPeople>

export function createPeople({ nodes, random }: { readonly nodes: readonly Node[]; readonly random: Random }) {
  const members = new Map<string, Member>()
  let bornCount = 0

  const anyNode = (): Node => random.pick(nodes.filter((node) => node.isAlive()))

  /** @param at - where it connects, asked at each attempt; left out, anywhere */
  function enter({ id, at = anyNode }: { readonly id?: string; readonly at?: () => Node } = {}): Member {
    bornCount += 1
    const member: Member = {
      person: createPerson({
        id: id ?? `user-${bornCount}`,
        rooms: () => (member.isInRoom ? [ROOM] : []),
        at: () => at().wsUrl(),
      }),
      status: 'ONLINE',
      isInRoom: random.next() < 0.5,
      unconfirmed: new Set(),
    }
    members.set(member.person.id, member)
    return member
  }

  async function leave({ person }: Member): Promise<void> {
    members.delete(person.id)
    await person.close()
  }

  /** Whatever it was, it takes the other status: over HTTP. */
  async function changeStatus(member: Member, at: Node = anyNode()): Promise<void> {
    if (member.unconfirmed.has('status')) return
    member.status = member.status === 'BUSY' ? 'ONLINE' : 'BUSY'
    member.unconfirmed.add('status')
    await confirm(member, at)
  }

  /** Into the room or out of it: over its socket. */
  async function changeRoom(member: Member): Promise<void> {
    if (member.unconfirmed.has('room')) return
    member.isInRoom = !member.isInRoom
    member.unconfirmed.add('room')
    await confirm(member)
  }

  /** What failed, or was not answered, may have been done or not: it is asked for again. */
  async function confirm(member: Member, at: Node = anyNode()): Promise<void> {
    const { person, unconfirmed, status, isInRoom } = member
    if (unconfirmed.has('status')) {
      const choice = status === 'BUSY' ? 'BUSY' : 'AUTOMATIC'
      const answer = await askOverHttp(at, person.id, `mutation { setStatus(status: ${choice}) { viewer { id } } }`)
      if (answer?.data?.setStatus) unconfirmed.delete('status')
    }
    if (unconfirmed.has('room')) {
      const answer = await askOverSocket(
        person,
        `mutation { ${isInRoom ? 'joinRoom' : 'leaveRoom'}(room: "${ROOM}") { session { id } } }`,
      )
      if (answer?.data) unconfirmed.delete('room')
    }
  }

  /** Someone changes something. */
  function change(least: number, most: number, isChangeable: (member: Member) => boolean): void {
    const chance = random.next()
    const changeable = [...members.values()].filter(isChangeable)
    if (changeable.length < least || (chance < 0.3 && changeable.length < most)) enter()
    else if (chance < 0.5) void leave(random.pick(changeable))
    else if (chance < 0.75) void changeStatus(random.pick([...members.values()]))
    else void changeRoom(random.pick([...members.values()]))
  }

  return {
    members,
    anyNode,
    enter,
    leave,
    changeStatus,
    changeRoom,

    /** Changes until it is told to stop: those of `stays` neither leave nor lose anything but room and status. */
    churn({
      stays,
      least,
      most,
    }: {
      readonly stays: ReadonlySet<string>
      readonly least: number
      readonly most: number
    }) {
      let isOver = false
      const going = (async () => {
        while (!isOver) {
          change(least, most, ({ person }) => !stays.has(person.id))
          await sleep(random.between(20, 120))
        }
      })()
      return async () => {
        isOver = true
        await going
      }
    },

    /** Until all that was asked for is done. */
    async settle(withinMs: number): Promise<void> {
      await until(
        async () => {
          await Promise.all([...members.values()].map((member) => confirm(member)))
          return [...members.values()].every(({ unconfirmed }) => unconfirmed.size === 0)
        },
        { withinMs, everyMs: 100, what: 'the confirmation of every change' },
      )
    },

    truth: (isOfRoom: boolean): readonly string[] =>
      [...members.values()]
        .filter(({ isInRoom }) => isInRoom || !isOfRoom)
        .map(({ person, status }) => `${person.id} ${status}`)
        .sort(),

    async close(): Promise<void> {
      await Promise.all([...members.values()].map(({ person }) => person.close()))
    },
  }
}

/** @returns null where no answer came at all */
export async function askOverHttp(node: Pick<Node, 'url'>, userId: string, query: string): Promise<Answer | null> {
  return post({ url: node.url() }, `dev:${userId}`, query).catch(() => null)
}

/** @returns null where none came in time, or an error */
export async function askOverSocket(person: Visitor, query: string): Promise<Answer | null> {
  return Promise.race([(person.ask(query) as Promise<Answer>).catch(() => null), sleep(3000, null)])
}

/** Two a node: one sees everyone, one the room. */
export function watchAll(nodes: readonly Node[]): readonly Watcher[] {
  return nodes.flatMap((node, index) => {
    const at = () => {
      const there = node.isAlive() ? node : (nodes.find((other) => other.isAlive()) ?? node)
      return { url: there.url(), wsUrl: there.wsUrl() }
    }
    return [watch(`everyone-${index}`, at), watch(`room-${index}`, at, ROOM)]
  })
}

export const isOfRoom = ({ name }: Watcher): boolean => name.startsWith('room')

export function pictureOf({ picture }: Watcher): readonly string[] {
  return [...picture()].map(([id, status]) => `${id} ${status}`).sort()
}

export function isRight(watcher: Watcher, truth: (isOfRoom: boolean) => readonly string[]): boolean {
  return pictureOf(watcher).join() === truth(isOfRoom(watcher)).join()
}

export async function untilRight(
  watchers: readonly Watcher[],
  truth: (isOfRoom: boolean) => readonly string[],
  withinMs: number,
): Promise<void> {
  await until(() => watchers.every((watcher) => isRight(watcher, truth)), {
    withinMs,
    what: 'every picture to be the truth',
  })
}

/** For `catch`: what failed is thrown with a report of how things stood. */
export function failWith(report: () => string): (error: unknown) => never {
  return (error) => {
    throw new Error(`${error instanceof Error ? error.message : error}\n${report()}`, { cause: error })
  }
}

/** What somebody has to know who reads of a failure: who is missing or too many, and what was said last. */
export function describeWorld(about: {
  readonly nodes: readonly Node[]
  readonly watchers: readonly Watcher[]
  readonly people: readonly Person[]
  readonly truth: (isOfRoom: boolean) => readonly string[]
}): string {
  const { nodes, watchers, people, truth } = about
  const wrong = watchers
    .filter((watcher) => !isRight(watcher, truth))
    .map((watcher) => {
      const [is, should] = [pictureOf(watcher), truth(isOfRoom(watcher))]
      return [
        `${watcher.name}: missing ${few(should.filter((line) => !is.includes(line)))}`,
        `  too many ${few(is.filter((line) => !should.includes(line)))}`,
        `  last errors ${watcher.errors.slice(-5).join(' | ')}`,
      ].join('\n')
    })
  const problems = watchers.flatMap((watcher) => watcher.problems).slice(0, 10)
  const away = people
    .filter((person) => !person.isConnected())
    .map((person) => `${person.id} is not connected: ${person.log.at(-1)?.why}`)
    .slice(0, 20)
  const said = nodes.flatMap(({ lines, wsUrl }) =>
    lines
      .slice(-8)
      .map(
        ({ msg, time, said, error }) =>
          `${wsUrl()} ${time} ${msg} ${JSON.stringify(said ?? error)?.slice(0, 300) ?? ''}`,
      ),
  )
  return [...wrong, ...problems, ...away, ...said].join('\n')
}

function few(lines: readonly string[]): string {
  return lines.length <= 20 ? lines.join(', ') : `${lines.slice(0, 20).join(', ')} and ${lines.length - 20} more`
}

/** Waits until everybody is connected. */
export async function untilConnected(people: readonly Visitor[], withinMs = 20_000): Promise<void> {
  await until(() => people.every((person) => person.isConnected()), {
    withinMs,
    everyMs: 20,
    what: 'everybody connected',
  })
}

/** Sockets that are asked together: an answer has seconds. */
const BATCH_ASKED = 50

export interface OwnSession {
  readonly id: string
  readonly isAttached: boolean
  readonly rooms: readonly string[]
}

/** What a heartbeat over somebody's socket says of its session. */
export async function beatOver(person: Visitor): Promise<OwnSession | string> {
  const answer = await askOverSocket(person, 'mutation { heartbeat { session { id isAttached rooms } } }')
  return answer?.data?.heartbeat?.session ?? JSON.stringify(answer)
}

/** Whose own socket does not answer for their own session, as the only socket of it: a sentence each. */
export async function wrongSockets<Member extends Visitor>(
  people: readonly Member[],
  rooms: (person: Member) => readonly string[],
): Promise<readonly string[]> {
  const answers: { readonly person: Member; readonly is: OwnSession | string }[] = []
  for (let from = 0; from < people.length; from += BATCH_ASKED) {
    const some = people.slice(from, from + BATCH_ASKED)
    answers.push(...(await Promise.all(some.map(async (person) => ({ person, is: await beatOver(person) })))))
  }
  return answers
    .filter(
      ({ person, is }) =>
        JSON.stringify(is) !== JSON.stringify({ id: person.sessionId, isAttached: true, rooms: rooms(person) }),
    )
    .map(({ person, is }) => `${person.id} of session ${person.sessionId} was answered ${JSON.stringify(is)}`)
}

/** The live sessions of somebody, as they see them over HTTP. */
export async function sessionsOf(node: Pick<Node, 'url'>, userId: string): Promise<readonly OwnSession[] | string> {
  const answer = await askOverHttp(node, userId, '{ viewer { sessions { id isAttached rooms } } }')
  return answer?.data?.viewer?.sessions ?? JSON.stringify(answer)
}
