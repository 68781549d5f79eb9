-- adopt: adds the sessions that are open in the database and attached by no node, and confirms inherited users.
-- Keep in step with src/stores/memory/index.ts (`adopt`), which has no inherited users.
-- KEYS[1]  the root
-- ARGV[1]  the epoch that the node believes in
-- ARGV[2]  JSON: a list of AdoptedUser of src/presence/store.ts; each row that has ended has a freshStartId
-- Returns  'done'
local refusal = refuse_stranger(ARGV[1])
if refusal then return refusal end

-- Ends inherited sessions whose rows have ended, or whose user was dismissed, since. A session that a node has attached
-- continues with a fresh start id, because the row of the old one has ended.
local function end_inherited(user, adopted)
  local touched, rows, sessions = {}, {}, {}
  for _, row in ipairs(adopted.sessions) do rows[row.startId] = given(row.endedAtMs) and row end
  for index, session in ipairs(user.sessions) do sessions[index] = session end
  local dismissedAtMs = given(adopted.tokensValidAfterMs)
  for _, session in ipairs(sessions) do
    local row = rows[session.startId]
    if row and not session.isInherited then
      session.startId = row.freshStartId
      touched[#touched + 1] = { session = session, finish = false }
    elseif row then
      end_session(user, session, row.endReason)
      touched[#touched + 1] = { session = session, finish = { atMs = row.endedAtMs, reason = row.endReason } }
    elseif session.isInherited and dismissedAtMs and session.startedAtMs <= dismissedAtMs then
      end_session(user, session, 'DISCONNECTED')
      touched[#touched + 1] = { session = session, finish = { atMs = dismissedAtMs, reason = 'DISCONNECTED' } }
    end
  end
  return touched
end

-- The client was back before the row was read: the session continues that row.
local function take_row(session, row)
  session.mayTakeRow = false
  session.startId = row.startId
  session.startedAtMs = math.min(session.startedAtMs, row.startedAtMs)
  session.hadSocket = session.hadSocket or row.hadSocket
end

local function session_of_row(row)
  local lastActiveAtMs = cut_to_now(row.lastActiveAtMs)
  local session = create_session(row.sessionId, row.startId, cut_to_now(row.startedAtMs), lastActiveAtMs,
    steady_of(lastActiveAtMs))
  session.device = given(row.device)
  session.rooms = row.rooms
  session.nodeId = given(row.nodeId)
  session.hadSocket = row.hadSocket
  return session
end

-- The end of a session in this epoch before its row was read; nil if it did not end.
local function end_of_row(userId, row)
  for _, sessionId in ipairs({ row.sessionId, '*' }) do
    local value = redis.call('GET', gone_key(userId, sessionId))
    -- Older versions stored that the session ended, and not how.
    if value == '1' then return { atMs = math.max(row.startedAtMs, row.lastActiveAtMs), reason = 'SERVER_RESTART' } end
    if value then
      local atMs, reason = unpack(cjson.decode(value))
      return { atMs = math.max(row.startedAtMs, atMs), reason = reason }
    end
  end
  return nil
end

local function adopt_session(user, row)
  local session = session_of_row(row)
  user.latestAtMs = math.max(user.latestAtMs or 0, session.startedAtMs, session.lastActiveAtMs)
  session.isInGrace = row.hadSocket
  session.leaseEndsSteadyMs = steadyMs + (row.hadSocket and timing.reconnectGraceMs or timing.sessionTtlMs)
  session.leaseReason = 'SERVER_RESTART'
  add_session(user, session)
  return session
end

-- Dates onlineSince of an adopted user. The column may lack the last JOIN, and the inherited state several: the later
-- of the two times is right.
local function date_back(user, columnMs)
  local formerMs = user.inheritedSinceMs
  local sinceMs = later(columnMs, formerMs)
  user.inheritedSinceMs = false
  if not user.before.public[4] then
    user.shownSinceMs = sinceMs
  elseif meta.isAnnouncing and sinceMs then
    -- A node attached the user before the adoption, and reads still wait, so the time can still change unseen.
    user.shownSinceMs = formerMs and sinceMs or math.min(user.shownSinceMs, sinceMs)
  end
  return sinceMs
end

local function adopt(adopted)
  -- The row was read before the user was forgotten.
  if redis.call('HEXISTS', FORGOTTEN, adopted.userId) == 1 then return end
  local known = load_to_change(adopted.userId)
  local user = known or admit(adopted.userId, adopted.seed)
  local wasInherited, wasUnconfirmed = user.isInherited, user.isUnconfirmed
  local touched = known and end_inherited(user, adopted) or {}
  local isNew = not known or #touched > 0
  local isHereBySocket = false
  for _, session in ipairs(user.sessions) do if is_on_own_socket(session) then isHereBySocket = true end end
  for _, row in ipairs(adopted.sessions) do
    local isOpen, live = not given(row.endedAtMs), session_of(user, row.sessionId)
    local finish = isOpen and end_of_row(adopted.userId, row)
    if finish then
      if not live or live.startId ~= row.startId then
        touched[#touched + 1] = { session = session_of_row(row), finish = finish }
        isNew = true
      end
    elseif isOpen and live and live.mayTakeRow then
      take_row(live, row)
      touched[#touched + 1] = { session = live, finish = false }
      isNew = true
    elseif isOpen and not live then
      local session = adopt_session(user, row)
      if isHereBySocket and session.id == limits.defaultSessionId and not row.hadSocket then
        touched[#touched + 1] = { session = session, finish = end_session(user, session, 'TAKEN_OVER') }
      end
      isNew = true
    end
  end
  if known then
    if wasInherited then take_seed(user, adopted.seed) end
    -- The state of the earlier epoch may lack the last settings, which the database has. Without a row, the settings of
    -- that state are confirmed.
    local settings = given(adopted.seed.settings) or (wasUnconfirmed and settings_of(user))
    if take_settings(user, settings, adopted.seed) then isNew = true end
    if take_profile(user, adopted.seed.profile) then isNew = true end
  end
  local sinceMs = date_back(user, cut_to_now(adopted.onlineSinceMs))
  -- Everyone saw the activity since the user was shown online.
  if wasInherited and is_visible(user) and sinceMs and user.lastActiveAtMs and user.lastActiveAtMs >= sinceMs then
    user.shownLastActiveAtMs = later(user.shownLastActiveAtMs, user.lastActiveAtMs)
  end
  commit(user, { touched = touched, mustRecord = isNew, isViewerChanged = isNew })
end

local userIds = {}
for index, adopted in ipairs(cjson.decode(ARGV[2])) do
  adopt(adopted)
  userIds[index] = adopted.userId
end
if #userIds > 0 then
  for _, key in ipairs(redis.call('LRANGE', INHERITED, 0, -1)) do redis.call('ZREM', key, unpack(userIds)) end
end
return 'done'
