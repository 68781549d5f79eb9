-- Sessions with their sockets and nodes.
-- Keep in step with src/stores/memory/index.ts (`hang`, `endSession`, `giveGrace`) and src/stores/memory/nodes.ts.

local function keep_losses(nodeId)
  redis.call('PEXPIRE', losses_key(nodeId), limits.lossesKeptMs)
  redis.call('PEXPIRE', loss_count_key(nodeId), limits.lossesKeptMs)
end

-- Stores a loss for the node's next renewal. It is kept long enough for a node that was believed dead.
local function lose(nodeId, fence, cause)
  redis.call('RPUSH', losses_key(nodeId), cjson.encode({ fence, cause }))
  redis.call('INCR', loss_count_key(nodeId))
  keep_losses(nodeId)
end

-- Must be called after a session of the user lost its socket on the node.
local function leave_node(user, nodeId)
  for _, session in ipairs(user.sessions) do if session.fence and session.nodeId == nodeId then return end end
  redis.call('SREM', node_key(nodeId), user.id)
end

-- The time before which a reaped session does not end, because its node is returning; 0 if it is not.
local function held_until(session)
  if session.leaseReason ~= 'NODE_LOST' then return 0 end
  local returning = redis.call('ZSCORE', RETURNING, session.nodeId)
  return returning and tonumber(returning) + timing.nodeTtlMs + timing.reconnectGraceMs or 0
end

local function renew_node(nodeId) redis.call('ZADD', NODES, steadyMs + timing.nodeTtlMs, nodeId) end

-- Makes every node close the user's sockets whose token was issued at or before issuedUpToMs.
local function dismiss(userId, issuedUpToMs)
  local number = redis.call('HINCRBY', META, 'dismissedCount', 1)
  redis.call('XADD', DISMISSED, 'MAXLEN', limits.dismissalsKept, number .. '-0', 'userId', userId,
    'issuedUpToMs', issuedUpToMs)
  ring({ dismissal = number })
end

-- Attaches a session to a socket. The socket that had the session loses it.
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

-- Marks a session as ended before the adoption: the database may have it open, and it would be adopted.
-- sessionId: '*' for all sessions of the user.
local function end_before_adoption(userId, sessionId, atMs, reason)
  redis.call('SET', gone_key(userId, sessionId), cjson.encode({ atMs, reason }), 'PX', limits.goneKeptMs)
end

-- Returns { atMs, reason } for the session's row.
local function end_session(user, session, reason)
  -- Nobody was connected after a restart, so the session ended at its last known activity.
  local atMs = reason == 'SERVER_RESTART' and session.lastActiveAtMs or date(user)
  local _, index = session_of(user, session.id)
  table.remove(user.sessions, index)
  redis.call('HINCRBY', META, 'sessionCount', -1)
  if not meta.isAdopted then
    end_before_adoption(user.id, session.id, atMs, reason)
    -- The session's socket took over from a `default` that the database may have open.
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

-- Keeps a session that lost its socket live for graceMs; ends it in this step if that is 0 or less.
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
  -- A row does not contain whether a socket is attached, so only an end needs a record.
  commit(user, { touched = touched, isViewerChanged = true })
end
