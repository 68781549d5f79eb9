/** Servers with the load on them, ready for their turns. */
import { type Load, startLoad } from './load/load.ts'
import { isOptional, SECRET, SERVERS, type Server, type ServerName, startServer } from './servers.ts'

export interface Contender {
  readonly server: Server
  readonly load: Load
  beatenAtMs: number
}

export interface Clients {
  readonly subscriberCount: number
  readonly driverCount: number
  readonly picture?: string
  /** Of the server. */
  readonly settings?: Readonly<Record<string, string>>
}

/** Well before Rollcall's AWAY_AFTER, 5 minutes, in which nobody's status may change by itself. */
const BEAT_EVERY_MS = 60_000

/** @returns those that could be started, and notes on those that could not */
export async function openContenders(
  names: readonly ServerName[],
  clients: Clients,
): Promise<{ readonly contenders: readonly Contender[]; readonly notes: string[] }> {
  const notes: string[] = []
  const opened = await Promise.all(
    names.map(async (name) => {
      try {
        return await openContender(name, clients)
      } catch (error) {
        if (!isOptional(name)) throw error
        const reason = error instanceof Error ? error.message : String(error)
        notes.push(`${SERVERS[name].title} was left out: ${reason}`)
        return null
      }
    }),
  )
  return { contenders: opened.filter((contender) => contender !== null), notes }
}

async function openContender(name: ServerName, { settings = {}, ...clients }: Clients): Promise<Contender> {
  const server = await startServer(name, { settings })
  const load = startLoad()
  await load.open({ url: server.url, pid: server.pid, dialect: server.dialect, secret: SECRET, ...clients })
  return { server, load, beatenAtMs: performance.now() }
}

export function pidsOf({ server, load }: Contender): { readonly server: number; readonly generator: number } {
  return { server: server.pid, generator: load.pid }
}

/** Heartbeats of all clients, where it is time: an app sends them, and outside what is measured. */
export async function keepAwake(contender: Contender): Promise<void> {
  if (performance.now() < contender.beatenAtMs + BEAT_EVERY_MS) return
  contender.beatenAtMs = performance.now()
  await contender.load.beatAll()
}

export async function closeContenders(contenders: readonly Contender[]): Promise<void> {
  await Promise.all(contenders.flatMap(({ server, load }) => [load.stop(), server.stop()]))
}
