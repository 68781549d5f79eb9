/** A position in the change log, and its form for clients: opaque to them, `epoch:seq` to the server. */
import { badInput } from './errors.ts'

export interface Position {
  readonly epoch: string
  readonly seq: number
}

/** 16 hexadecimal digits and a number that is exact in a double. */
const POSITION = /^([0-9a-f]{16}):(0|[1-9]\d{0,14})$/

export function formatPosition({ epoch, seq }: Position): string {
  return `${epoch}:${seq}`
}

export function parsePosition(argument: string, value: string): Position {
  const match = POSITION.exec(value)
  if (match === null) throw badInput(argument, 'a position that this server gave')
  return { epoch: String(match[1]), seq: Number(match[2]) }
}
