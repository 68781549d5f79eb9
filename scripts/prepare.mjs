/**
 * Builds after `npm ci`, where the builders are installed: `npm ci --omit=dev` runs this as well, and then it is an
 * image's business to bring `dist` along. npm runs it before it packs too, when `prepack` has built already. It never runs
 * where the package is installed.
 */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'

const isPacking = ['pack', 'publish'].includes(String(process.env.npm_command))

if (!isPacking && existsSync(new URL('../node_modules/vite', import.meta.url))) {
  const { status } = spawnSync('npm', ['run', 'build'], { stdio: 'inherit', shell: process.platform === 'win32' })
  process.exitCode = status ?? 1
}
