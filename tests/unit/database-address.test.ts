import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { AddressError, type DatabaseAddress, describeAddress, parseAddress } from '../../src/db/address.ts'

const page = readFileSync(new URL('../../docs/operations.md', import.meta.url), 'utf8')
/** Of the table "Its address": the form, what becomes of it, and the words of the last cell. */
const documented = [...page.matchAll(/^\| `([^`]+)` \| (taken|left out|refused) \| (.*) \|$/gm)].map(
  ([, form, fate, words]) => [String(form), String(fate), String(words)] as const,
)

function refusalOf(text: string): string {
  try {
    parseAddress(text)
  } catch (error) {
    if (error instanceof AddressError) return error.message
    throw error
  }
  throw new Error(`It was taken: ${text}`)
}

const withParameter = (parameter: string): DatabaseAddress => parseAddress(`postgres://app@db/app?${parameter}`)

describe('the table of docs/operations.md', () => {
  it('has every kind of address', () => {
    expect(documented.length).toBeGreaterThan(45)
  })

  it.each(documented)('%s is %s', (form, fate, words) => {
    if (fate === 'refused') {
      expect(refusalOf(form)).toContain(words.replace(/^`+ ?/, '').replace(/ ?`+$/, ''))
      return
    }
    const named = fate === 'left out' ? [...words.matchAll(/`(\w+)`/g)].map((match) => match[1]) : []
    expect(parseAddress(form).leftOut).toEqual(named)
  })
})

describe('an address', () => {
  it('gives its parts, decoded', () => {
    expect(parseAddress('postgres://u%40x:p%40s%3As%2F%3F%23%25@db.example.com:6432/my%20app')).toMatchObject({
      user: 'u@x',
      password: 'p@s:s/?#%',
      hosts: [{ name: 'db.example.com', port: 6432, socketPath: null, ip: null }],
      database: 'my app',
      tls: null,
      needsPrimary: false,
      isPreparing: true,
      connectionCount: null,
      parameters: { application_name: 'rollcall' },
      leftOut: [],
    })
  })

  it('may have all of its parts left out', () => {
    for (const text of ['postgres://', 'postgresql:///', 'POSTGRES://']) {
      expect(parseAddress(text)).toMatchObject({
        user: null,
        password: null,
        database: null,
        hosts: [{ name: 'localhost', port: 5432 }],
      })
    }
  })

  it('may have them as parameters, which hold', () => {
    const text = 'postgres://x:y@z:1/w?user=app&password=secret&host=one,two&port=5433&dbname=app'
    expect(parseAddress(text)).toMatchObject({
      user: 'app',
      password: 'secret',
      database: 'app',
      hosts: [
        { name: 'one', port: 5433 },
        { name: 'two', port: 5433 },
      ],
    })
  })

  it('has ports by host, and asks several hosts for one that takes writes', () => {
    const address = parseAddress('postgres://one:1,[::1]:2,three/app')
    expect(address.hosts.map(({ name, port }) => [name, port])).toEqual([
      ['one', 1],
      ['::1', 2],
      ['three', 5432],
    ])
    expect(address.needsPrimary).toBe(true)
    expect(describeAddress(address)).toBe('one:1,[::1]:2,three:5432/app')
  })

  it.each([
    'postgres://app@/app?host=/var/run/postgresql',
    'postgres://app@localhost/app?host=/var/run/postgresql/',
    'postgres://app@%2Fvar%2Frun%2Fpostgresql/app',
    'postgres:///app?user=app&host=%2Fvar%2Frun%2Fpostgresql',
    'postgres://app@/app?host=/var/run/postgresql/.s.PGSQL.5432',
    'socket://app@/var/run/postgresql?db=app',
    'socket:/var/run/postgresql?user=app&db=app',
    'socket:///var/run/postgresql/?user=app&dbname=app',
  ])('may lead to a Unix socket: %s', (text) => {
    const address = parseAddress(text)
    expect(address).toMatchObject({ user: 'app', database: 'app', tls: null })
    expect(address.hosts.map((host) => host.socketPath)).toEqual(['/var/run/postgresql/.s.PGSQL.5432'])
    expect(describeAddress(address)).toBe('/var/run/postgresql/.s.PGSQL.5432/app')
  })

  it('has TLS as libpq does', () => {
    const tls = (query: string) => withParameter(query).tls
    expect(tls('sslmode=disable')).toBe(null)
    expect(tls('ssl=false')).toBe(null)
    expect(tls('sslmode=prefer')).toMatchObject({ isRequired: false, verifies: 'nothing' })
    for (const query of ['sslmode=require', 'sslmode=no-verify', 'ssl=true', 'ssl=1', 'ssl=require']) {
      expect(tls(query)).toMatchObject({ isRequired: true, verifies: 'nothing', isDirect: false })
    }
    expect(tls('sslmode=require&sslrootcert=/ca.pem')).toMatchObject({ verifies: 'chain', rootFile: '/ca.pem' })
    expect(tls('sslmode=verify-ca')).toMatchObject({ verifies: 'chain', rootFile: null })
    for (const query of ['sslmode=verify-full', 'sslrootcert=system', 'sslmode=require&sslrootcert=system']) {
      expect(tls(query)).toMatchObject({ verifies: 'chain and name', rootFile: null })
    }
    expect(tls('sslrootcert=/ca.pem')).toMatchObject({ verifies: 'chain and name', rootFile: '/ca.pem' })
  })

  it('says what a pooler needs', () => {
    for (const query of ['pgbouncer=true', 'statement_cache_size=0', 'prepareThreshold=0', 'prepare=false']) {
      expect(withParameter(query).isPreparing).toBe(false)
    }
    for (const query of ['pgbouncer=false', 'statement_cache_size=100', '']) {
      expect(withParameter(query).isPreparing).toBe(true)
    }
    expect(withParameter('connection_limit=3').connectionCount).toBe(3)
  })

  it('has limits and probes', () => {
    expect(withParameter('connect_timeout=3').connectTimeoutMs).toBe(3000)
    expect(withParameter('connect_timeout=0').connectTimeoutMs).toBe(null)
    expect(withParameter('keepalives=0').keepAliveS).toBe(0)
    expect(withParameter('keepalives=1&keepalives_idle=20').keepAliveS).toBe(20)
    expect(withParameter('lock_timeout=500&options=-c%20search_path%3Dx').parameters).toEqual({
      application_name: 'rollcall',
      lock_timeout: '500',
      options: '-c search_path=x',
    })
  })

  it.each([
    ['connect_timeout=soon', 'a whole number from 0 to 3600 as its `connect_timeout`'],
    ['connection_limit=0', 'a whole number from 1 to 100 as its `connection_limit`'],
    ['keepalives=2', 'a whole number from 0 to 1 as its `keepalives`'],
    ['pgbouncer=maybe', '`true` or `false` as its `pgbouncer`'],
    ['sslcert=/a.pem', '`sslcert` and `sslkey` together'],
    ['sslnegotiation=direct', '`sslmode=require` or stricter'],
    ['hostaddr=db', 'IP addresses in `hostaddr`'],
    ['port=0', 'ports from 1 to 65535'],
  ])('is refused with %s', (query, words) => {
    expect(refusalOf(`postgres://app@db/app?${query}`)).toContain(words)
  })

  it.each([
    'postgres://app:TOP/SECRET@db/app',
    'postgres://app:TOP?SECRET@db/app',
    'postgres://app:TOP?a&SECRET=1@db/app',
    'postgres://app:TOP@x?SECRET@db/app',
    'postgres://app:TOP#SECRET@db/app',
    'postgres://app:TOP%SECRET@db/app',
    'postgres://app:TOP SECRET@db/app',
    'postgres://app:SECRET/app',
    'postgres://app:TOP:SECRET/app',
    'mysql://app:SECRET@db/app',
    'app:SECRET@db/app',
    'postgres://app:SECRET@db:port/app?password=SECRET',
    'postgres://app@db/app?password=SECRET&work_mem=SECRET',
  ])('repeats no password: %s', (text) => {
    expect(refusalOf(text)).not.toMatch(/SECRET|TOP/)
  })
})
