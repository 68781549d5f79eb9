/**
 * Builds after `npm ci`, where the builders are installed: `npm ci --omit=dev` runs this as well, and then it is an
 * image's business to bring `dist` along.
 */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'

if (existsSync(new URL('../node_modules/vite', import.meta.url))) {
  const { status } = spawnSync('npm', ['run', 'build'], { stdio: 'inherit', shell: process.platform === 'win32' })
  process.exitCode = status ?? 1
}
