/** Requests, documents and frames that are nearly right, by chance: made from the schema that the server serves. */
import {
  type GraphQLArgument,
  type GraphQLInputType,
  type GraphQLNamedOutputType,
  type GraphQLObjectType,
  getNamedType,
  isCompositeType,
  isEnumType,
  isListType,
  isNonNullType,
  isObjectType,
} from 'graphql'
import { schema } from '../../src/schema/index.ts'
import type { Random } from './random.ts'

export interface OddOperation {
  readonly query: string
  readonly variables: Record<string, unknown>
  readonly operationName?: unknown
  readonly extensions?: unknown
}

/** What a test has seen of the server: an old position is odder than one that no server gave. */
export interface Seen {
  readonly positions: string[]
  readonly cursors: string[]
  readonly sessionIds: string[]
}

const UUID = '6a0f1c1e-2a57-4d7e-9d35-6f2f3c1b7a10'
const USERS = Array.from({ length: 12 }, (_, index) => `user-${index}`)
const ROOMS = ['lobby', 'team:one', 'team:two', 'a:b:c:d', '__proto__', 'é', '☃', ' ', '{x}', '*', '**']

const ODD_TEXTS: readonly string[] = [
  '',
  ' ',
  'x'.repeat(128),
  'x'.repeat(129),
  'x'.repeat(5000),
  '☃'.repeat(43),
  '\ud83d\ude00'.repeat(32),
  '\ud800',
  'a\udc00b',
  '\u0000',
  'a\u0007b',
  '\u2028',
  '\ufeff',
  '\u202e',
  '__proto__',
  'constructor',
  'toString',
  'null',
  'undefined',
  'NaN',
  '-1',
  '0',
  '1e400',
  'default',
  'DEFAULT',
  UUID,
  UUID.toUpperCase(),
  `${UUID}0`,
  '%',
  '%00',
  '\\',
  '"',
  "'",
  '$1',
  '{{x}}',
  '[]',
  '{}',
  '0000000000000000:0',
  'ffffffffffffffff:999999999999999',
  '2026-01-01T00:00:00.000Z',
  'https://example.org/a.png',
  'javascript:x',
  'https://',
]

const ODD_VALUES: readonly unknown[] = [
  null,
  true,
  false,
  0,
  -0,
  -1,
  1,
  50,
  1000,
  1001,
  2 ** 31 - 1,
  2 ** 31,
  2 ** 53,
  -(2 ** 53),
  1.5,
  1e308,
  1e-308,
  [],
  [null],
  [[]],
  [[['x']]],
  {},
  { id: 'x' },
  { __proto__: null, toString: 1, length: -1 },
]

export function createOddClients(random: Random, seen: Seen) {
  const chance = (share: number): boolean => random.next() < share
  const count = (most: number): number => Math.floor(random.next() * (most + 1))

  function oddText(): string {
    if (chance(0.3)) return random.pick([...USERS, ...ROOMS])
    if (chance(0.2)) return mutatedText(random.pick([...seen.positions, ...seen.cursors, ...seen.sessionIds, UUID]))
    if (chance(0.3)) return random.pick([...seen.positions, ...seen.cursors, ...seen.sessionIds, UUID])
    return random.pick(ODD_TEXTS)
  }

  function oddValue(): unknown {
    if (chance(0.4)) return random.pick(ODD_VALUES)
    if (chance(0.1)) return Array.from({ length: random.pick([2, 100, 101, 1000, 1001]) }, (_, index) => `x${index}`)
    if (chance(0.1)) return nested(count(40))
    return oddText()
  }

  function nested(levels: number): unknown {
    let value: unknown = 'x'
    for (let level = 0; level < levels; level += 1) value = chance(0.5) ? [value] : { x: value }
    return value
  }

  /** Mostly of its type: what is wrong at once is refused before it comes far. */
  function inputOf(type: GraphQLInputType): unknown {
    if (chance(0.03)) return oddValue()
    if (isNonNullType(type)) return inputOf(type.ofType)
    if (chance(0.08)) return null
    if (isListType(type)) return Array.from({ length: random.pick([0, 1, 2, 3, 20]) }, () => inputOf(type.ofType))
    if (isEnumType(type)) return random.pick(type.getValues()).name
    const { name } = type
    if (name === 'Boolean') return chance(0.5)
    if (name === 'Int') return random.pick([0, 1, 2, 3, 10, 1000, 1001, -1, 2 ** 31 - 1])
    return oddText()
  }

  function literal(value: unknown, type: GraphQLInputType | null): string {
    if (value === undefined) return 'null'
    if (type !== null && isEnumType(getNamedType(type)) && typeof value === 'string') return value || 'x'
    if (Array.isArray(value)) return `[${value.map((item) => literal(item, type)).join(chance(0.5) ? ', ' : ' ')}]`
    if (typeof value === 'object' && value !== null) {
      return `{${Object.entries(value).map(([name, inner]) => `${name}: ${literal(inner, null)}`)}}`
    }
    if (typeof value === 'string' && chance(0.05)) return `"""${value}"""`
    return JSON.stringify(value)
  }

  function operation(): OddOperation {
    const variables: Record<string, unknown> = {}
    const declared: string[] = []

    function argument({ name, type }: GraphQLArgument): string {
      if (chance(0.5)) return `${name}: ${literal(inputOf(type), type)}`
      const variable = chance(0.03) ? '__proto__' : `v${declared.length}`
      const written = chance(0.02) ? String(getNamedType(type)) : String(type)
      const byDefault = chance(0.05) ? ` = ${literal(inputOf(type), type)}` : ''
      declared.push(`$${variable}: ${written}${byDefault}`)
      if (!chance(0.03)) variables[variable] = inputOf(type)
      return `${name}: $${variable}`
    }

    function field(parent: GraphQLObjectType, levels: number): string {
      if (chance(0.05)) return '__typename'
      if (chance(0.01))
        return random.pick(['nothing', '__schema { queryType { name } }', 'id { id }', '...on User { id }'])
      const { name, args, type } = random.pick(Object.values(parent.getFields()))
      const asked = args.filter((arg) => (isNonNullType(arg.type) ? !chance(0.01) : chance(0.5)))
      if (chance(0.005) && asked[0]) asked.push(asked[0])
      const written = asked.length > 0 ? `(${asked.map(argument).join(', ')})` : ''
      const alias = chance(0.6) ? `a${count(400)}: ` : ''
      const directive = chance(0.03)
        ? random.pick([' @skip(if: false)', ' @include(if: true)', ' @include(if: false)', ' @no'])
        : ''
      return `${alias}${name}${written}${directive}${selection(getNamedType(type), levels)}`
    }

    function selection(type: GraphQLNamedOutputType, levels: number): string {
      if (!isCompositeType(type)) return chance(0.003) ? ' { id }' : ''
      if (!isObjectType(type) || levels <= 0) return ' { __typename }'
      const fields = Array.from({ length: 1 + count(3) }, () => field(type, levels - 1))
      const text = fields.join(' ')
      return chance(0.1) ? ` { ... on ${type.name} { ${text} } }` : ` { ${text} }`
    }

    const [kind, root] = random.pick([
      ['query', schema.getQueryType()],
      ['query', schema.getQueryType()],
      ['mutation', schema.getMutationType()],
      ['mutation', schema.getMutationType()],
      ['subscription', schema.getSubscriptionType()],
    ] as const)
    if (!root) throw new Error(`There is no ${kind} in the schema.`)
    const most = kind === 'subscription' && !chance(0.1) ? 0 : 2
    const body = Array.from({ length: 1 + count(most) }, () => field(root, random.pick([1, 3, 6]))).join(' ')
    const name = chance(0.3) ? ' A' : ''
    const query = `${kind}${name}${declared.length > 0 ? `(${declared.join(', ')})` : ''} { ${body} }`
    return {
      query: chance(0.03) ? mutatedText(query) : chance(0.02) ? `${query} query B { __typename }` : query,
      variables,
      ...(chance(0.05) ? { operationName: random.pick(['A', 'A', 'B', '', null, 1, [], '__proto__']) } : {}),
      ...(chance(0.05)
        ? { extensions: random.pick([{}, null, [], 'x', nested(30), { persistedQuery: { version: 1 } }]) }
        : {}),
    }
  }

  function mutatedText(text: string): string {
    let mutated = text
    for (let changes = 1 + count(2); changes > 0; changes -= 1) {
      const at = Math.floor(random.next() * (mutated.length + 1))
      const to = at + random.pick([0, 1, 1, 2, 10])
      const put = random.pick([
        '',
        '',
        '{',
        '}',
        '"',
        '\\',
        '[',
        ']',
        ':',
        ',',
        ' ',
        '0',
        'e',
        '\u0000',
        'é',
        '\ud800',
        '$',
        '(',
      ])
      mutated = mutated.slice(0, at) + put + mutated.slice(to)
    }
    return mutated
  }

  return {
    chance,
    count,
    oddText,
    sessionIds: () => seen.sessionIds,
    oddValue,
    operation,
    mutatedText,
    user: () => random.pick(USERS),
  }
}

export type OddClients = ReturnType<typeof createOddClients>

/** The text of an operation over HTTP: mostly JSON of the right form. */
export function bodyText(odd: OddClients, random: Random): string {
  const operation: unknown = odd.chance(0.03) ? odd.oddValue() : odd.operation()
  const text = JSON.stringify(odd.chance(0.03) ? [operation] : operation)
  return odd.chance(0.04) ? odd.mutatedText(text) : odd.chance(0.02) ? random.pick(['', 'null', '[]', '1', '{}']) : text
}

/** A whole request as bytes. @param tokens - of callers that the server takes */
export function requestBytes(odd: OddClients, random: Random, tokens: readonly string[]): Buffer {
  const { chance } = odd
  const isGet = chance(0.2)
  const method = chance(0.05)
    ? random.pick(['PUT', 'HEAD', 'OPTIONS', 'TRACE', 'DELETE', 'get', 'X'])
    : isGet
      ? 'GET'
      : 'POST'
  const headers: string[] = []
  const add = (name: string, value: string): void => void headers.push(`${name}: ${value.replace(/[\r\n]/g, '')}`)
  if (!chance(0.02)) add('Host', chance(0.02) ? odd.oddText() : '127.0.0.1')
  if (!chance(0.1)) add('Authorization', chance(0.1) ? odd.mutatedText(random.pick(tokens)) : random.pick(tokens))
  if (chance(0.2))
    add('Rollcall-Session', chance(0.8) ? random.pick([UUID, 'default', ...odd.sessionIds()]) : odd.oddText())
  if (chance(0.3)) {
    const types = [
      'application/json',
      'application/graphql-response+json',
      'text/event-stream',
      '*/*',
      'text/html',
      'x',
      '',
      'multipart/mixed',
    ]
    add('Accept', random.pick(types))
  }
  if (chance(0.1))
    add(
      'Origin',
      random.pick([
        'http://localhost:1',
        'http://localhost:1',
        'http://127.0.0.1',
        'http://127.0.0.1',
        'null',
        'x',
        'https://else.example',
        '',
      ]),
    )
  if (chance(0.04)) add('Upgrade', random.pick(['h2c', 'websocket', 'tea']))
  if (chance(0.1)) add('Connection', random.pick(['close', 'Upgrade', 'keep-alive, Upgrade', 'x']))
  if (chance(0.03)) add('Expect', random.pick(['100-continue', 'tea']))
  const body = isGet ? '' : bodyText(odd, random)
  if (!isGet || chance(0.05)) {
    const types = ['application/json', 'application/json; charset=utf-8', 'text/plain', 'application/graphql', 'x']
    add('Content-Type', chance(0.1) ? random.pick(types) : 'application/json')
    add('Content-Length', String(Buffer.byteLength(body)))
  }
  const paths = ['/graphql/', '/', '/healthz', '/readyz', '/metrics', '*', '//', '/%', 'http://x/graphql', '/graphql?']
  const path = chance(0.05) ? random.pick(paths) : '/graphql'
  const query = isGet ? `?${queryString(odd)}` : ''
  const text = Buffer.from(`${method} ${path}${query} HTTP/1.1\r\n${headers.join('\r\n')}\r\n\r\n${body}`)
  return chance(0.08) ? mutatedBytes(text, odd, random) : text
}

function queryString(odd: OddClients): string {
  const { query, variables, operationName, extensions } = odd.operation()
  const search = new URLSearchParams({ query })
  search.set('variables', odd.chance(0.1) ? odd.mutatedText(JSON.stringify(variables)) : JSON.stringify(variables))
  if (operationName !== undefined) search.set('operationName', String(operationName))
  if (extensions !== undefined) search.set('extensions', JSON.stringify(extensions))
  return odd.chance(0.05)
    ? encodeURI(odd.mutatedText(search.toString()).replace(/[\ud800-\udfff]/g, ''))
    : search.toString()
}

function mutatedBytes(bytes: Buffer, odd: OddClients, random: Random): Buffer {
  const at = odd.count(bytes.length)
  const put = Buffer.from(Array.from({ length: odd.count(3) }, () => Math.floor(random.next() * 256)))
  return Buffer.concat([bytes.subarray(0, at), put, bytes.subarray(at + odd.count(4))])
}

/** One message of a client over a socket. @param ids - of operations that this socket may have open */
export function frame(odd: OddClients, random: Random, ids: readonly string[]): string | Buffer {
  const { chance } = odd
  const id = chance(0.01) ? odd.oddValue() : random.pick(ids)
  const payload = chance(0.01) ? odd.oddValue() : odd.operation()
  const type = random.pick(['subscribe', 'subscribe', 'subscribe', 'subscribe', 'complete', 'ping', 'pong'])
  const message: Record<string, unknown> = { id, type, payload }
  if (type === 'ping' || type === 'pong') {
    delete message.id
    if (chance(0.5)) delete message.payload
  }
  if (type === 'complete') delete message.payload
  if (chance(0.02))
    message.type = random.pick(['next', 'error', 'connection_ack', 'connection_init', '', 1, null, '__proto__'])
  if (chance(0.005)) delete message[random.pick(['id', 'type', 'payload'])]
  const text = JSON.stringify(message)
  if (chance(0.01)) return odd.mutatedText(text)
  return chance(0.003) ? Buffer.from(text) : text
}

/** Bytes that are a frame of RFC 6455 by chance only. */
export function rawFrame(odd: OddClients, random: Random): Buffer {
  const opcode = random.pick([0x81, 0x01, 0x80, 0x82, 0x83, 0x88, 0x89, 0x8a, 0xc1, 0xff, 0x00])
  const length = random.pick([0, 1, 4, 125, 126, 127])
  const rest = Array.from({ length: odd.count(40) }, () => Math.floor(random.next() * 256))
  return Buffer.from([opcode, (odd.chance(0.8) ? 0x80 : 0) | length, ...rest])
}

/** The payload of `connection_init`, mostly one that is acknowledged. */
export function connectionParams(odd: OddClients, random: Random, tokens: readonly string[]): unknown {
  const { chance } = odd
  if (chance(0.02)) return odd.oddValue()
  const params: Record<string, unknown> = { authorization: random.pick(tokens) }
  if (chance(0.5)) params.sessionId = crypto.randomUUID()
  if (chance(0.2)) params.rooms = ['lobby', 'team:one']
  if (chance(0.1)) params.observer = chance(0.5)
  if (chance(0.1)) params.active = chance(0.5)
  if (chance(0.1)) params.device = odd.oddText()
  if (chance(0.05))
    params[random.pick(['sessionId', 'rooms', 'observer', 'active', 'device', 'authorization', 'x'])] = odd.oddValue()
  return params
}
