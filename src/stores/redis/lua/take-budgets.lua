-- take-budgets: adds work to what callers have taken at all nodes.
-- KEYS[1]  the root
-- ARGV[1]  the epoch that the node believes in
-- ARGV[2]  JSON: { { caller, ms in which the work flows back, ms in which a whole bucket does }... }
-- Returns  in how many ms the bucket of each is full again
local refusal = refuse_stranger(ARGV[1])
if refusal then return refusal end
local answer = {}
for index, taken in ipairs(cjson.decode(ARGV[2])) do
  local caller, refillMs, burstMs = unpack(taken)
  local key = budget_key(caller)
  local fullAtMs = math.max(tonumber(redis.call('GET', key) or 0), nowMs) + refillMs
  -- It may owe as much as it holds. A clock that was set back must not make it owe more.
  local fullInMs = math.ceil(math.min(fullAtMs - nowMs, 2 * burstMs))
  if fullInMs > 0 then redis.call('SET', key, nowMs + fullInMs, 'PX', fullInMs) else redis.call('DEL', key) end
  answer[index] = math.max(0, fullInMs)
end
return answer
