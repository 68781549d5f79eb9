/** The version of this package: what `rollcall --version`, `/healthz` and `/metrics` say. */
import { readFileSync } from 'node:fs'

/** The same path from src and from dist. */
const PACKAGE = new URL('../package.json', import.meta.url)

const { version }: { readonly version: string } = JSON.parse(readFileSync(PACKAGE, 'utf8'))

export const OWN_VERSION = version
