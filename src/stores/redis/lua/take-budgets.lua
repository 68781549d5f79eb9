-- take-budgets: takes work from the budgets of callers, which all nodes share.
-- Keep in step with `spend` of src/server/limits/budgets.ts, which counts the same for one process.
-- KEYS[1]  the root
-- ARGV[1]  the epoch that the node believes in
-- ARGV[2]  JSON: { { caller, ms in which the taken work is refilled, ms in which a whole bucket is refilled }... }
-- Returns  for each caller the ms until the bucket is full again
local refusal = refuse_stranger(ARGV[1])
if refusal then return refusal end
local answer = {}
for index, taken in ipairs(cjson.decode(ARGV[2])) do
  local caller, refillMs, burstMs = unpack(taken)
  local key = budget_key(caller)
  local fullAtMs = math.max(tonumber(redis.call('GET', key) or 0), nowMs) + refillMs
  -- A bucket may owe at most as much as it holds, also after the clock was set back.
  local fullInMs = math.ceil(math.min(fullAtMs - nowMs, 2 * burstMs))
  if fullInMs > 0 then redis.call('SET', key, nowMs + fullInMs, 'PX', fullInMs) else redis.call('DEL', key) end
  answer[index] = math.max(0, fullInMs)
end
return answer
