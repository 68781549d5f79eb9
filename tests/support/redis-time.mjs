/**
 * Loaded before the server (`node --import`), it gives its Lua scripts a clock of Redis that a test can set: of all
 * their text only the line that asks for the time is another. A Redis under libfaketime would be better, and does not
 * start: its allocator asks for the time before that library is ready.
 */
import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'

const OFFSET_TIME = `
local function store_time_ms()
  local time = redis.call('TIME')
  local offset = tonumber(redis.call('GET', KEYS[1] .. ':clock-offset') or 0)
  return time[1] * 1000 + math.floor(time[2] / 1000) + offset
end`

const { readFileSync } = fs
fs.readFileSync = (path, ...options) =>
  String(path).endsWith('/lua/shared/time.lua') ? OFFSET_TIME : readFileSync(path, ...options)
syncBuiltinESMExports()
