// The compiler copies no Lua: the scripts of the Redis store go beside the code that reads them.
import { cpSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const path = (relative) => fileURLToPath(new URL(relative, import.meta.url))

cpSync(path('../src/stores/redis/lua'), path('../dist/stores/redis/lua'), { recursive: true })
