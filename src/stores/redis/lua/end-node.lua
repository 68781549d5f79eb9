-- end-node: ends the lease of a node. If it was the last one, no sweep follows, so activity that waits for
-- LAST_ACTIVE_FLUSH is recorded at once.
-- Keep in step with src/stores/memory/index.ts (`endNode`).
-- KEYS[1]  the root
-- ARGV[1]  the epoch that the node believes in
-- ARGV[2]  JSON: { the node's id, most users to handle, users to skip }
-- Returns  JSON: { number of users recorded, whether there are more, number of users that the next call must skip as
--          well }
local refusal = refuse_stranger(ARGV[1])
if refusal then return refusal end
local nodeId, limit, skip = unpack(cjson.decode(ARGV[2]))
redis.call('ZADD', NODES, 'XX', 'LT', steadyMs, nodeId)
if meta.isAnnouncing or redis.call('ZCOUNT', NODES, string.format('(%d', steadyMs), '+inf') > 0 then
  return cjson.encode({ 0, false, 0 })
end

-- Users with unrecorded activity have a deadline by then.
local untilMs = steadyMs + timing.lastActiveFlushMs
local due = redis.call('ZRANGEBYSCORE', DUE, '-inf', untilMs, 'LIMIT', skip, limit)
local count, stayed = 0, 0
for _, userId in ipairs(due) do
  local user = load_to_change(userId)
  if not user then
    redis.call('ZREM', DUE, userId)
  else
    if user.activityFlushSteadyMs then
      count = count + 1
      -- Remove the user from DUE, so that commit schedules them by their other deadlines only: else the next call would
      -- find them again.
      user.dueSteadyMs = false
      redis.call('ZREM', DUE, userId)
      commit(user, { mustRecord = true })
    end
    if user.dueSteadyMs and user.dueSteadyMs <= untilMs then stayed = stayed + 1 end
  end
end
return cjson.encode({ count, #due == limit, stayed })
