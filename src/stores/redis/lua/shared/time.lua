-- The store's wall clock, in epoch ms: TIME of Redis, the same for all nodes.
local function store_time_ms()
  local time = redis.call('TIME') -- { seconds, microseconds }
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
