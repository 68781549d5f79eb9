-- adopt: takes over sessions that the database has open and nobody has brought.
-- KEYS[1]  the root
-- ARGV[1]  the epoch that the node believes in
-- ARGV[2]  JSON: a list of AdoptedUser of src/presence/store.ts
-- Returns  'done'
local refusal = refuse_stranger(ARGV[1])
if refusal then return refusal end

for _, adopted in ipairs(cjson.decode(ARGV[2])) do
  local known = load_to_change(adopted.userId)
  local user = known or admit(adopted.userId, adopted.seed)
  if known then
    -- What was chosen last may have been lost with the state of before, and is in the database.
    take_settings(user, given(adopted.seed.settings))
    take_profile(user, adopted.seed.profile)
  end
  local onlineSinceMs = cut_to_now(adopted.onlineSinceMs)
  if not user.before.public[4] then
    user.shownSinceMs = onlineSinceMs
  elseif meta.isAnnouncing and onlineSinceMs then
    -- Their node came first, and nobody has read it yet.
    user.shownSinceMs = math.min(user.shownSinceMs, onlineSinceMs)
  end
  local isHereBySocket, touched = false, {}
  for _, session in ipairs(user.sessions) do if is_on_own_socket(session) then isHereBySocket = true end end
  for _, row in ipairs(adopted.sessions) do
    local goneCount = redis.call('EXISTS', gone_key(adopted.userId, row.sessionId), gone_key(adopted.userId, '*'))
    if goneCount == 0 and not session_of(user, row.sessionId) then
      local lastActiveAtMs = cut_to_now(row.lastActiveAtMs)
      local session = create_session(row.sessionId, row.startId, cut_to_now(row.startedAtMs), lastActiveAtMs,
        steady_of(lastActiveAtMs))
      user.latestAtMs = math.max(user.latestAtMs or 0, session.startedAtMs, lastActiveAtMs)
      session.device = given(row.device)
      session.rooms = row.rooms
      session.nodeId = given(row.nodeId)
      session.hadSocket = row.hadSocket
      session.isInGrace = row.hadSocket
      session.leaseEndsSteadyMs = steadyMs + (row.hadSocket and timing.reconnectGraceMs or timing.sessionTtlMs)
      session.leaseReason = 'SERVER_RESTART'
      add_session(user, session)
      if isHereBySocket and session.id == limits.defaultSessionId and not row.hadSocket then
        touched[#touched + 1] = { session = session, finish = end_session(user, session, 'TAKEN_OVER') }
      end
    end
  end
  commit(user, { touched = touched, mustRecord = true, isViewerChanged = true })
end
return 'done'
