/** The pages as they are now, and the template of the embedded database. */
import { existsSync } from 'node:fs'
import { build } from 'vite'
import { buildTemplate } from '../../scripts/build-template.ts'
import { TEMPLATE_PATH } from '../../src/db/embedded.ts'

export async function setup(): Promise<void> {
  await build({ logLevel: 'warn' })
  if (!existsSync(TEMPLATE_PATH)) await buildTemplate()
}
