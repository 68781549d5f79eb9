/** Servers of other people's, with Rollcall in them as their documentation mounts a handler. */
import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { bodyParser } from '@koa/bodyparser'
import express from 'express'
// @ts-expect-error Express 4 has no types here: those of Express 5 are close enough for what the tests use.
import express4 from 'express-4'
import Fastify from 'fastify'
import Koa from 'koa'
import type { Rollcall } from '../../src/app.ts'
import type { TestServer } from './server.ts'

export interface Mounted extends TestServer {
  readonly http: Server
}

/** Each answers `/theirs` itself, and has `upgrade` beside its handler. */
export interface Framework {
  readonly name: string
  readonly start: (rollcall: Rollcall) => Promise<Mounted>
}

// Both have the same form; Express 4 has no types of its own here.
const EXPRESSES: readonly (readonly [string, typeof express])[] = [
  ['Express 5', express],
  ['Express 4', express4 as unknown as typeof express],
]

export const FRAMEWORKS: readonly Framework[] = [
  {
    name: 'node:http',
    start: (rollcall) =>
      mounted(rollcall, (request, response) => {
        void rollcall.handle(request, response, () => theirs(request.url, response))
      }),
  },
  ...EXPRESSES.flatMap(([name, express]) => [
    { name, start: (rollcall: Rollcall) => inExpress(rollcall, express) },
    {
      name: `${name}, after its body parsers`,
      start: (rollcall: Rollcall) =>
        inExpress(rollcall, express, express.json(), express.urlencoded({ extended: true }), express.text()),
    },
  ]),
  {
    name: 'Express 5, after express.text()',
    start: (rollcall) => inExpress(rollcall, express, express.text({ type: () => true })),
  },
  {
    name: 'Express 5, after express.raw()',
    start: (rollcall) => inExpress(rollcall, express, express.raw({ type: () => true })),
  },
  { name: 'Fastify', start: inFastify },
  { name: 'Koa', start: (rollcall) => inKoa(rollcall) },
  { name: 'Koa, after its body parser', start: (rollcall) => inKoa(rollcall, bodyParser()) },
]

function inExpress(
  rollcall: Rollcall,
  create: typeof express,
  ...parsers: readonly express.RequestHandler[]
): Promise<Mounted> {
  const app = create()
  for (const parser of parsers) app.use(parser)
  app.use(rollcall.handle)
  app.get('/theirs', (_request, response) => {
    response.send('theirs')
  })
  return mounted(rollcall, app)
}

function inKoa(rollcall: Rollcall, ...parsers: readonly Koa.Middleware[]): Promise<Mounted> {
  const app = new Koa()
  for (const parser of parsers) app.use(parser)
  app.use((context, next) => {
    const { body } = context.request as { readonly body?: unknown }
    return rollcall.handle(context.req, context.res, { body, next })
  })
  app.use((context) => {
    if (context.path === '/theirs') context.body = 'theirs'
  })
  return mounted(rollcall, app.callback())
}

async function inFastify(rollcall: Rollcall): Promise<Mounted> {
  const app = Fastify()
  app.get('/theirs', () => 'theirs')
  app.all('/graphql', async (request, reply) => {
    reply.hijack()
    await rollcall.handle(request.raw, reply.raw, { body: request.body })
  })
  app.get('/healthz', async (request, reply) => {
    reply.hijack()
    await rollcall.handle(request.raw, reply.raw)
  })
  app.server.on('upgrade', rollcall.upgrade)
  await app.listen({ port: 0, host: '127.0.0.1' })
  return { ...addressOf(app.server), http: app.server, stop: () => app.close() }
}

/**
 * A server of Node's with this listener, and Rollcall's sockets.
 *
 * @param prepare - attaches what has to listen for upgrades before Rollcall
 */
export async function mounted(
  rollcall: Rollcall,
  listener: RequestListener,
  prepare: (http: Server) => void = () => {},
  http: Server = createServer(),
): Promise<Mounted> {
  const connections = new Set<Socket>()
  http.on('connection', (socket) => {
    connections.add(socket)
    socket.once('close', () => connections.delete(socket))
  })
  http.on('request', listener)
  prepare(http)
  http.on('upgrade', rollcall.upgrade)
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve))
  return {
    ...addressOf(http),
    http,
    async stop() {
      // Node does not count those that became sockets.
      for (const socket of connections) socket.destroy()
      await new Promise((resolve) => http.close(resolve))
    },
  }
}

function theirs(url: string | undefined, response: Parameters<RequestListener>[1]): void {
  response.statusCode = url === '/theirs' ? 200 : 404
  response.end(url === '/theirs' ? 'theirs' : 'not found by them')
}

function addressOf(http: Server): Pick<TestServer, 'url' | 'wsUrl'> {
  const { port } = http.address() as AddressInfo
  return { url: `http://127.0.0.1:${port}`, wsUrl: `ws://127.0.0.1:${port}/graphql` }
}
