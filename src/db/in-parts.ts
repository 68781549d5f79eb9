import { LockedError, QueryRefusedError } from './failures.ts'

/**
 * Writes rows together. If a row fails, writes each half by itself, recursively.
 *
 * @param alone - handles the single row that fails
 * @returns false if `write` or `alone` returned false: the rows after that were not written
 */
export async function writeInParts<Row>(
  rows: readonly Row[],
  write: (rows: readonly Row[], isPart: boolean) => Promise<boolean>,
  alone: (row: Row, error: LockedError | QueryRefusedError) => Promise<boolean>,
  isPart = false,
): Promise<boolean> {
  try {
    return await write(rows, isPart)
  } catch (error) {
    const [first] = rows
    if (!isOfRows(error) || first === undefined) throw error
    if (rows.length === 1) return await alone(first, error)
    const middle = Math.ceil(rows.length / 2)
    const parts = [rows.slice(0, middle), rows.slice(middle)]
    for (const part of parts) if (!(await writeInParts(part, write, alone, true))) return false
    return true
  }
}

function isOfRows(error: unknown): error is LockedError | QueryRefusedError {
  if (error instanceof LockedError) return error.relation !== 'recorder_checkpoint'
  return error instanceof QueryRefusedError && error.isOfData
}
