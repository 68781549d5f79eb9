-- reap-nodes: removes the sockets of nodes whose lease passed. Each session gets the whole RECONNECT_GRACE.
-- Keep in step with src/stores/memory/index.ts (`reapNodes`).
-- KEYS[1]  the root
-- ARGV[1]  the epoch that the node believes in
-- ARGV[2]  most sessions to reap
-- Returns  JSON: { number of sessions, whether there are more, whether this call was late itself and so reaped none }
local refusal = refuse_stranger(ARGV[1])
if refusal then return refusal end
local limit = tonumber(ARGV[2])
local last = redis.call('HMGET', META, 'reapedAtMs', 'reapFromMs', 'isReapLate')
redis.call('HSET', META, 'reapedAtMs', steadyMs, 'isReapLate', 0)
local isLate = steadyMs - tonumber(last[1] or steadyMs) > limits.sweepLateMs
if isLate or last[3] == '1' then return cjson.encode({ 0, false, true }) end
if meta.isAnnouncing or steadyMs < tonumber(last[2] or 0) then return cjson.encode({ 0, false, false }) end

-- Nodes that did not return in this time hold no sessions any longer (held_until).
redis.call('ZREMRANGEBYSCORE', RETURNING, '-inf', steadyMs - timing.nodeTtlMs - timing.reconnectGraceMs)

local count = 0
for _, nodeId in ipairs(redis.call('ZRANGEBYSCORE', NODES, '-inf', steadyMs)) do
  local userIds = redis.call('SRANDMEMBER', node_key(nodeId), limit - count + 1)
  for _, userId in ipairs(userIds) do
    local user = load_to_change(userId)
    local sessions = {}
    for _, session in ipairs(user and user.sessions or {}) do
      if session.fence and session.nodeId == nodeId then sessions[#sessions + 1] = session end
    end
    if #sessions == 0 then redis.call('SREM', node_key(nodeId), userId) end
    for _, session in ipairs(sessions) do
      if count == limit then return cjson.encode({ count, true, false }) end
      count = count + 1
      lose(nodeId, session.fence, 'reaped')
      give_grace(user, session, timing.reconnectGraceMs, 'NODE_LOST')
      -- The user's next session is a separate step.
      remember(user)
    end
  end
  if redis.call('EXISTS', node_key(nodeId)) == 1 then return cjson.encode({ count, true, false }) end
  redis.call('ZREM', NODES, nodeId)
end
return cjson.encode({ count, false, false })
