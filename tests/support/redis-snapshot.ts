/** A copy of what Redis has on its disk, to start it with later: as after a restore, or where saving had failed since. */
import { copyFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { command, type RedisProcess } from './redis-process.ts'

export interface RedisSnapshot {
  /** Kills the server and starts it again with what it had then. */
  goBack(): Promise<void>
}

/** @param server - keeps no append-only file, which would win over the snapshot */
export async function takeSnapshot(server: RedisProcess): Promise<RedisSnapshot> {
  const [, folder] = (await command(server, 'CONFIG', 'GET', 'dir')) as [string, string]
  const path = join(folder, 'dump.rdb')
  const copy = join(folder, `dump-${performance.now()}.rdb`)
  await command(server, 'SAVE')
  copyFileSync(path, copy)
  // Without it, another restart is one with nothing.
  rmSync(path)
  return {
    async goBack() {
      await server.kill()
      copyFileSync(copy, path)
      await server.restart()
    },
  }
}
