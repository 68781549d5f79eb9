-- Sessions, and the sockets and nodes that they hang on.

local function keep_losses(nodeId)
  redis.call('PEXPIRE', losses_key(nodeId), limits.lossesKeptMs)
  redis.call('PEXPIRE', loss_count_key(nodeId), limits.lossesKeptMs)
end

-- The node learns it by its next renewal. Kept long enough for one that was thought dead.
local function lose(nodeId, fence, cause)
  redis.call('RPUSH', losses_key(nodeId), cjson.encode({ fence, cause }))
  redis.call('INCR', loss_count_key(nodeId))
  keep_losses(nodeId)
end

-- To be called when a session of the user no longer hangs on the node.
local function leave_node(user, nodeId)
  for _, session in ipairs(user.sessions) do if session.fence and session.nodeId == nodeId then return end end
  redis.call('SREM', node_key(nodeId), user.id)
end

-- Until when a session that was reaped from a node is not ended, because the node is not back with all of its sockets.
local function held_until(session)
  if session.leaseReason ~= 'NODE_LOST' then return 0 end
  local returning = redis.call('ZSCORE', RETURNING, session.nodeId)
  return returning and tonumber(returning) + timing.nodeTtlMs + timing.reconnectGraceMs or 0
end

local function renew_node(nodeId) redis.call('ZADD', NODES, steadyMs + timing.nodeTtlMs, nodeId) end

-- Every node closes the user's sockets whose token is not younger.
local function dismiss(userId, issuedUpToMs)
  local number = redis.call('HINCRBY', META, 'dismissedCount', 1)
  redis.call('XADD', DISMISSED, 'MAXLEN', limits.dismissalsKept, number .. '-0', 'userId', userId,
    'issuedUpToMs', issuedUpToMs)
  ring({ dismissal = number })
end

-- Hangs a session on a socket; the socket that it hung on loses it.
local function hang(user, session, fence, nodeId)
  local formerFence, formerNodeId = session.fence, session.nodeId
  session.fence = fence
  session.nodeId = nodeId
  session.hadSocket = true
  session.reapedFence = false
  session.leaseEndsSteadyMs = false
  session.isInGrace = false
  session.isInherited = false
  if formerFence and formerFence ~= fence then lose(formerNodeId, formerFence, 'replaced') end
  if formerFence and formerNodeId ~= nodeId then leave_node(user, formerNodeId) end
  renew_node(nodeId)
  redis.call('SADD', node_key(nodeId), user.id)
end

-- Still open in the database, it would be adopted.
-- sessionId: '*' for all sessions of the user.
local function end_before_adoption(userId, sessionId, atMs, reason)
  redis.call('SET', gone_key(userId, sessionId), cjson.encode({ atMs, reason }), 'PX', limits.goneKeptMs)
end

-- Returns how it ended, for its row.
local function end_session(user, session, reason)
  -- Nobody was there after a restart, so it ended when its user was last known to be.
  local atMs = reason == 'SERVER_RESTART' and session.lastActiveAtMs or date(user)
  local _, index = session_of(user, session.id)
  table.remove(user.sessions, index)
  redis.call('HINCRBY', META, 'sessionCount', -1)
  if not meta.isAdopted then
    end_before_adoption(user.id, session.id, atMs, reason)
    -- Its socket took over from a `default` that the database may have open.
    if is_on_own_socket(session) then end_before_adoption(user.id, limits.defaultSessionId, atMs, 'TAKEN_OVER') end
  end
  if session.fence then
    lose(session.nodeId, session.fence, reason)
    leave_node(user, session.nodeId)
  end
  return { atMs = atMs, reason = reason }
end

local function add_session(user, session)
  user.sessions[#user.sessions + 1] = session
  redis.call('HINCRBY', META, 'sessionCount', 1)
end

-- A session that lost its socket lives on for its grace, or ends in this very step.
local function give_grace(user, session, graceMs, reason)
  session.reapedFence = reason == 'NODE_LOST' and session.fence
  session.fence = false
  session.leaseReason = reason
  session.isInGrace = true
  leave_node(user, session.nodeId)
  local touched = {}
  if graceMs <= 0 then
    touched = { { session = session, finish = end_session(user, session, reason) } }
  else
    session.leaseEndsSteadyMs = steadyMs + graceMs
  end
  -- A row does not say whether its socket is there just now, so only an end is one for the records.
  commit(user, { touched = touched, isViewerChanged = true })
end
