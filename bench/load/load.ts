/** The load generator as the process of the bench has it: each command is a function. */
import { fileURLToPath } from 'node:url'
import { startNode } from '../processes.ts'
import type { CommandName, LoadCommands, Request, Response } from './commands.ts'

export type Load = LoadCommands & { readonly pid: number; stop(): Promise<void> }

const GENERATOR = fileURLToPath(new URL('../../dist/bench/load/generator.js', import.meta.url))

export function startLoad(): Load {
  const child = startNode(GENERATOR)

  function command<Name extends CommandName>(name: Name): LoadCommands[Name] {
    const send = async (args?: unknown): Promise<unknown> => {
      const request: Request = { name, args }
      const response = (await child.ask(request)) as Response
      if ('error' in response) throw new Error(`The load generator failed at ${name}: ${response.error}`)
      return response.answer
    }
    return send as LoadCommands[Name]
  }

  return {
    pid: child.pid,
    stop: child.stop,
    open: command('open'),
    follow: command('follow'),
    watch: command('watch'),
    unfollow: command('unfollow'),
    beatAll: command('beatAll'),
    closedLoop: command('closedLoop'),
    openLoop: command('openLoop'),
    heartbeats: command('heartbeats'),
    cut: command('cut'),
    lightBeacon: command('lightBeacon'),
  }
}
