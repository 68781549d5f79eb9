/** The forms of DATABASE_URL that are taken, each against a real Postgres with TLS, passwords and a Unix socket. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { sql } from 'drizzle-orm'
import postgres from 'postgres'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openDatabase } from '../../../src/db/client.ts'
import { whyAway } from '../../../src/db/failures.ts'
import { type Cluster, makeCluster } from '../../support/postgres.ts'
import { createTestLog, defaults, rows } from './databases.ts'

/** Every character that has a meaning in an address. */
const PASSWORD = 'p@ss:w/r?d#1%2&=+ \'"é'
const encodedPassword = encodeURIComponent(PASSWORD)
/** The user and the database have such a name too. */
const ODD = 'odd @name'

interface Seen {
  readonly user: string
  readonly database: string
  readonly application: string
  readonly isEncrypted: boolean
}

let cluster: Cluster
let folder = ''
const pathOf = (name: string): string => join(folder, name)

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'rollcall-addresses-'))
  makeAuthority()
  makeCertificate('server', 'localhost', 'DNS:localhost')
  makeCertificate('client', 'certain', 'DNS:certain')
  cluster = await makeCluster()
  for (const name of ['authority.pem', 'server.pem', 'server.key']) {
    cluster.write(name, readFileSync(pathOf(name), 'utf8'))
  }
  cluster.write(
    'pg_hba.conf',
    [
      'local all all trust',
      'host all postgres 127.0.0.1/32 trust',
      'hostssl all encrypted 127.0.0.1/32 trust',
      'hostnossl all encrypted 127.0.0.1/32 reject',
      'hostssl all certain 127.0.0.1/32 cert',
      'host all all 127.0.0.1/32 scram-sha-256',
    ].join('\n'),
  )
  await cluster.start({
    ssl: 'on',
    ssl_cert_file: 'server.pem',
    ssl_key_file: 'server.key',
    ssl_ca_file: 'authority.pem',
    password_encryption: 'scram-sha-256',
  })
  const administration = postgres(cluster.url, { max: 1, onnotice: () => {} })
  await administration.unsafe(`create role plain login; create role encrypted login; create role certain login`)
  await administration.unsafe(`create role "${ODD}" login password '${PASSWORD.replaceAll("'", "''")}'`)
  await administration.unsafe(`create database "${ODD}"`)
  await administration.end()
})
afterAll(async () => {
  await cluster?.stop()
  cluster?.remove()
  rmSync(folder, { recursive: true, force: true })
})

/** `PORT`, `SOCKETS` and `FILES` stand for this run's own. */
async function seenBy(form: string): Promise<Seen> {
  const url = form
    .replaceAll('PORT', String(cluster.port))
    .replaceAll('SOCKETS', cluster.socketFolder)
    .replaceAll('ESCAPED', encodeURIComponent(cluster.socketFolder))
    .replaceAll('FILES', folder)
  const database = await openDatabase({ ...defaults, DATABASE_URL: url, DATABASE_TIME_LIMIT: 5000 }, createTestLog())
  try {
    const [seen] = await rows<Seen>(
      database,
      sql`select current_user as user, current_database() as database,
        current_setting('application_name') as application,
        (select ssl from pg_stat_ssl where pid = pg_backend_pid()) as "isEncrypted"`,
    )
    if (seen === undefined) throw new Error('No row.')
    return seen
  } finally {
    await database.close()
  }
}

const plain = { user: 'postgres', database: 'postgres', application: 'rollcall', isEncrypted: false }
const odd = { ...plain, user: ODD, database: ODD }
const encodedOdd = encodeURIComponent(ODD)

describe('is taken', () => {
  it.each<[string, Partial<Seen>]>([
    ['postgres://postgres@127.0.0.1:PORT/postgres', plain],
    ['postgresql://postgres@localhost:PORT', plain],
    [`postgres://${encodedOdd}:${encodedPassword}@127.0.0.1:PORT/${encodedOdd}`, odd],
    [`postgres://127.0.0.1:PORT/?user=${encodedOdd}&password=${encodedPassword}&dbname=${encodedOdd}`, odd],
    ['postgres://postgres@nowhere.invalid:PORT/postgres?hostaddr=127.0.0.1', plain],
    ['postgres://postgres@127.0.0.1:1,127.0.0.1:PORT/postgres?target_session_attrs=read-write', plain],
    ['postgres://postgres@/postgres?host=SOCKETS&port=PORT', plain],
    ['postgres://postgres@localhost/postgres?host=SOCKETS&port=PORT&sslmode=require', plain],
    ['postgres://plain@ESCAPED:PORT/postgres', { ...plain, user: 'plain' }],
    ['socket:SOCKETS/.s.PGSQL.PORT?user=plain&db=postgres', { ...plain, user: 'plain' }],
    ['socket://plain@SOCKETS?db=postgres&port=PORT', { ...plain, user: 'plain' }],
    ['postgres://postgres@127.0.0.1:PORT/postgres?application_name=presence', { ...plain, application: 'presence' }],
    ['postgres://postgres@127.0.0.1:PORT/postgres?options=-c%20application_name%3Dby-options', plain],
    ['postgres://postgres@127.0.0.1:PORT/postgres?connection_limit=1&connect_timeout=3&keepalives_idle=30', plain],
    ['postgres://postgres@127.0.0.1:PORT/postgres?pgbouncer=true&schema=public&pool_timeout=10', plain],
    ['postgres://encrypted@127.0.0.1:PORT/postgres?sslmode=prefer', { isEncrypted: true }],
    ['postgres://encrypted@127.0.0.1:PORT/postgres?sslmode=require&channel_binding=require', { isEncrypted: true }],
    ['postgres://encrypted@127.0.0.1:PORT/postgres?sslmode=no-verify', { isEncrypted: true }],
    [
      'postgres://encrypted@127.0.0.1:PORT/postgres?sslmode=verify-ca&sslrootcert=FILES/authority.pem',
      { isEncrypted: true },
    ],
    [
      'postgres://encrypted@localhost:PORT/postgres?sslmode=verify-full&sslrootcert=FILES/authority.pem',
      { isEncrypted: true },
    ],
    ['postgres://encrypted@localhost:PORT/postgres?sslmode=require&sslnegotiation=direct', { isEncrypted: true }],
    [
      'postgres://certain@127.0.0.1:PORT/postgres?sslmode=require&sslcert=FILES/client.pem&sslkey=FILES/client.key',
      { user: 'certain', isEncrypted: true },
    ],
  ])('%s', async (form, expected) => {
    expect(await seenBy(form)).toMatchObject(expected)
  })
})

describe('is out of reach, and says why', () => {
  it.each([
    ['postgres://encrypted@127.0.0.1:PORT/postgres?sslmode=disable', 'pg_hba.conf'],
    ['postgres://postgres@127.0.0.1:PORT/postgres?sslmode=verify-full', 'signed by nobody that is trusted here'],
    [
      'postgres://postgres@127.0.0.1:PORT/postgres?sslmode=verify-full&sslrootcert=FILES/authority.pem',
      'its certificate has another name',
    ],
    [`postgres://${encodedOdd}:wrong@127.0.0.1:PORT/postgres`, 'it refuses the password'],
    ['postgres://postgres@127.0.0.1:PORT/nowhere', 'no database of this name'],
    ['postgres://postgres@127.0.0.1:1/postgres', 'nothing listens'],
    ['postgres://postgres@127.0.0.1:1,127.0.0.1:1/postgres', 'nothing listens'],
    ['postgres://postgres@nowhere.invalid:PORT/postgres', 'its name is not known'],
    ['postgres://postgres@/postgres?host=/nowhere', 'no socket at its path'],
  ])('%s', async (form, words) => {
    const failure = await seenBy(form).catch((error: unknown) => error)
    expect(whyAway(failure)).toContain(words)
  })

  it('a file that is not there, by the name of its parameter', async () => {
    const failure = seenBy('postgres://postgres@127.0.0.1:PORT/postgres?sslmode=verify-ca&sslrootcert=/nowhere.pem')
    await expect(failure).rejects.toThrow('The file that DATABASE_URL names as `sslrootcert` cannot be read.')
  })
})

function makeAuthority(): void {
  openssl(
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'],
    ...['-subj', '/CN=Rollcall tests', '-keyout', pathOf('authority.key'), '-out', pathOf('authority.pem')],
  )
}

function makeCertificate(name: string, commonName: string, names: string): void {
  openssl(
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'],
    ...['-subj', `/CN=${commonName}`, '-addext', `subjectAltName=${names}`],
    ...['-addext', 'basicConstraints=critical,CA:FALSE'],
    ...['-CA', pathOf('authority.pem'), '-CAkey', pathOf('authority.key')],
    ...['-keyout', pathOf(`${name}.key`), '-out', pathOf(`${name}.pem`)],
  )
}

function openssl(...args: readonly string[]): void {
  execFileSync('openssl', args, { stdio: ['ignore', 'ignore', 'pipe'] })
}
