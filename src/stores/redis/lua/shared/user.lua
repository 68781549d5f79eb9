-- A user with their sessions: one value, so that a step of a user reads once and writes once.
-- Keep in step with src/stores/memory/live-user.ts, and with src/presence/rules.ts (rules 2 and 3).
local USER_FIELDS = {
  'hasProfile', 'name', 'avatarUrl', 'profileIssuedAtMs',
  'settingsVersion', -- false while the settings are not known
  'statusChoice', 'statusMessage', 'visibility', 'hideLastActive',
  'lastActiveAtMs', 'isActivityOver', 'activityOverSteadyMs', 'shownSinceMs', 'shownLastActiveAtMs',
  'shownStatus', -- the status in the last log entry
  'ownStatus', -- the user's status at the last step, regardless of visibility
  'activityFlushSteadyMs', 'dueSteadyMs', 'isRecorded',
  'lastActiveSteadyMs',
  'wentOfflineAtMs', -- when goOffline last ended a session
  'latestAtMs', -- the latest moment given to anything of the user: moments of one user never go back
  'epoch', -- the epoch in which this value was written
  'isInherited', -- from an earlier epoch, and the row has not been read in this one
  'isUnconfirmed', -- the settings are from an earlier epoch, and are not confirmed in this one
  'inheritedSinceMs', -- since when everyone saw the user online in the earlier epoch, until the adoption
  'mayHaveTrail', -- false if the user has no trail in this epoch (shared/trail.lua)
  'isFrozenAtHiding', -- written by a version in which everyone sees shownLastActiveAtMs of a hidden user
  -- when everyone last saw the user go offline: false while they see the user online, frozen while hidden. Unknown, so
  -- false, if an older version wrote the value
  'shownLastSeenAtMs',
}
local SESSION_FIELDS = {
  'id', 'startId', 'device', 'rooms', 'fence', 'nodeId', 'hadSocket', 'startedAtMs', 'lastActiveAtMs',
  'leaseEndsSteadyMs', 'leaseReason', 'isInGrace', 'hasUnrecordedActivity',
  'lastActiveSteadyMs',
  'reapedFence', -- fence of the socket that was reaped, until a detach reports how that socket was lost
  'isInherited', -- from an earlier epoch, without a proof of life in this one
  'mayTakeRow', -- started before the open sessions of the database were adopted, so it may be one of them
}

local ROOMS_FIELD = 4

local LONGEST_LEASE_MS = math.max(timing.sessionTtlMs, timing.nodeTtlMs + timing.reconnectGraceMs, timing.closeGraceMs)

-- rooms: the value to store for the rooms of a session; nil for a user.
local function pack_fields(fields, from, rooms)
  local values = {}
  for index, field in ipairs(fields) do
    if rooms and index == ROOMS_FIELD then values[index] = rooms else values[index] = from[field] or false end
  end
  return values
end

local function unpack_fields(fields, values)
  local into = {}
  for index, field in ipairs(fields) do into[field] = values[index] end
  return into
end

-- The rooms of a session that is in many rooms are stored apart, in rooms_key: a heartbeat, or a step of another
-- session, neither reads nor writes them. The user's value then contains `true` instead. `knownRooms` caches them after
-- a read.
local function read_rooms(session)
  session.knownRooms = session.knownRooms or cmsgpack.unpack(redis.call('HGET', rooms_key(session.userId), session.id))
  return session.knownRooms
end

local ROOMS_APART = {
  __index = function(session, field)
    if field ~= 'rooms' then return nil end
    session.rooms = read_rooms(session)
    return session.rooms
  end,
}

local function lay_apart(session, userId, rooms)
  session.userId = userId
  session.isApart = true
  session.knownRooms = rooms
  session.rooms = rooms
  setmetatable(session, ROOMS_APART)
end

-- Returns the list of a session's rooms, or the session itself if its rooms are stored apart and unchanged. No list is
-- ever changed in place.
local function list_of(session)
  if not session.isApart then return session.rooms end
  local rooms = rawget(session, 'rooms')
  if not rooms or rooms == session.knownRooms then return session end
  return rooms
end

local function rooms_in(session, list)
  if list == session then return read_rooms(session) end
  return list
end

local function are_long(rooms)
  local bytes = 0
  for _, room in ipairs(rooms) do
    bytes = bytes + #room
    if bytes > limits.listedRoomBytes then return true end
  end
  return false
end

-- Returns the value to store for a session's rooms. Writes rooms that are stored apart only if they changed.
local function save_rooms(user, session)
  local list = list_of(session)
  if list == session then return true end
  if not are_long(list) then return list end
  redis.call('HSET', rooms_key(user.id), session.id, cmsgpack.pack(list))
  lay_apart(session, user.id, list)
  return true
end

local function save(user)
  local sessions, isApart = {}, {}
  for index, session in ipairs(user.sessions) do
    local rooms = save_rooms(user, session)
    if rooms == true then isApart[session.id] = true end
    sessions[index] = pack_fields(SESSION_FIELDS, session, rooms)
  end
  for _, sessionId in ipairs(user.apartIds or {}) do
    if not isApart[sessionId] then redis.call('HDEL', rooms_key(user.id), sessionId) end
  end
  redis.call('SET', user_key(user.id), cmsgpack.pack({ pack_fields(USER_FIELDS, user), sessions }))
end

local function session_of(user, sessionId)
  for index, session in ipairs(user.sessions) do
    if session.id == sessionId then return session, index end
  end
  return nil
end

local function are_settings_known(user) return user.settingsVersion and not user.isUnconfirmed end

local function is_visible(user) return are_settings_known(user) and user.visibility == 'EVERYONE' end

-- Rule 2.
local function is_online(user)
  if #user.sessions == 0 then return false end
  if not user.lastActiveAtMs or user.isActivityOver then return false end
  return judged_ms() < user.lastActiveSteadyMs + timing.idleTimeoutMs
end

-- Rule 3.
local function status_of(user)
  if not is_online(user) then return 'OFFLINE' end
  if user.settingsVersion and user.statusChoice ~= 'AUTOMATIC' then return user.statusChoice end
  return judged_ms() < user.lastActiveSteadyMs + timing.awayAfterMs and 'ONLINE' or 'AWAY'
end

-- When time alone next changes the result of is_online or status_of; false if it never does.
local function next_flip_steady_ms(user)
  if not is_online(user) then return false end
  local awayMs = user.lastActiveSteadyMs + timing.awayAfterMs
  local isAutomatic = not user.settingsVersion or user.statusChoice == 'AUTOMATIC'
  if isAutomatic and judged_ms() < awayMs then return awayMs end
  return user.lastActiveSteadyMs + timing.idleTimeoutMs
end

-- Whether activity now would change the user's status, or time changed it and no sweep has told that yet.
local function flips_by_activity(user)
  local status = status_of(user)
  if user.former or status ~= user.ownStatus or status == 'OFFLINE' then return true end
  return status == 'AWAY' and (not user.settingsVersion or user.statusChoice == 'AUTOMATIC')
end

local function shown_last_active(user)
  if user.isUnconfirmed or (is_visible(user) and user.hideLastActive) then return false end
  return user.shownLastActiveAtMs
end

local function shown_last_seen(user)
  if user.shownStatus ~= 'OFFLINE' or not shown_last_active(user) then return false end
  return user.shownLastSeenAtMs or false
end

-- What everyone sees: as of the last log entry, with the activity since. In the order of PublicAnswer in
-- src/stores/redis/answers.ts. A log entry has all but lastSeenAtMs: that of a LEAVE is the moment of the entry
-- (src/stores/redis/logged-steps.ts), and nodes of older versions reject a longer list.
local function public_of(user)
  local isShown = user.shownStatus ~= 'OFFLINE'
  return {
    user.id, user.name or user.id, user.avatarUrl, isShown, user.shownStatus,
    isShown and user.statusMessage or false, isShown and user.shownSinceMs or false, shown_last_active(user),
  }
end

-- The same with lastSeenAtMs, for the answers of scripts.
local function public_answer(user)
  local answer = public_of(user)
  answer[9] = shown_last_seen(user)
  return answer
end

-- Maps each session to its list of rooms at the time of the call.
local function lists_of(user)
  local lists = {}
  for _, session in ipairs(user.sessions) do lists[session] = list_of(session) end
  return lists
end

-- All rooms of the lists, each once.
local function union_of(lists)
  local union, isIn = {}, {}
  for session, list in pairs(lists) do
    for _, room in ipairs(rooms_in(session, list)) do
      if not isIn[room] then
        isIn[room] = true
        union[#union + 1] = room
      end
    end
  end
  return union
end

-- The public columns of the user's row; false while the settings are not known.
local function columns_of(user)
  if not are_settings_known(user) then return false end
  local isShown = user.shownStatus ~= 'OFFLINE'
  return { isShown, isShown and user.shownSinceMs or false, shown_last_active(user), shown_last_seen(user) }
end

-- Stores the state before a step, so that commit can compare.
local function remember(user)
  user.before = { public = public_of(user), columns = user.isRecorded and columns_of(user), lists = lists_of(user) }
  return user
end

-- Moves a user of an earlier epoch into this one. The state may be an older copy, which lacks that the user hid or left
-- since. So the user is in no list until the settings are confirmed.
local function inherit(user)
  user.former = { epoch = user.epoch, rooms = user.shownStatus ~= 'OFFLINE' and union_of(lists_of(user)) or {} }
  user.epoch = meta.epoch
  user.isInherited, user.isUnconfirmed = true, true
  user.inheritedSinceMs = user.shownStatus ~= 'OFFLINE' and user.shownSinceMs or user.inheritedSinceMs
  user.shownStatus = 'OFFLINE'
  user.shownSinceMs = false
  for _, session in ipairs(user.sessions) do session.isInherited = true end
end

-- Reads a user; nil if the user is not in the store.
local function load(userId)
  local value = redis.call('GET', user_key(userId))
  if not value then return nil end
  local values = cmsgpack.unpack(value)
  local user = unpack_fields(USER_FIELDS, values[1])
  user.id = userId
  user.sessions, user.apartIds = {}, {}
  for index, packed in ipairs(values[2]) do
    local session = unpack_fields(SESSION_FIELDS, packed)
    if session.rooms == true then
      lay_apart(session, userId, nil)
      user.apartIds[#user.apartIds + 1] = session.id
    end
    -- Older versions measured leases and activity by TIME, which may be ahead of the steady clock.
    if session.leaseEndsSteadyMs then
      session.leaseEndsSteadyMs = math.min(session.leaseEndsSteadyMs, steadyMs + LONGEST_LEASE_MS)
    end
    session.lastActiveSteadyMs = math.min(session.lastActiveSteadyMs or session.lastActiveAtMs, steadyMs)
    user.sessions[index] = session
  end
  if user.lastActiveAtMs then
    user.lastActiveSteadyMs = math.min(user.lastActiveSteadyMs or user.lastActiveAtMs, steadyMs)
  end
  -- Older versions applied hideLastActive also while the user was hidden.
  if not user.isFrozenAtHiding and user.hideLastActive and user.visibility == 'NOBODY' then
    user.shownLastActiveAtMs = false
  end
  user.isFrozenAtHiding = true
  if user.epoch ~= meta.epoch then inherit(user) end
  return user
end

-- Must be called before a step changes a user, if `commit` follows.
local function prepare_change(user)
  if user.former then
    for _, room in ipairs(user.former.rooms) do redis.call('ZREM', room_key(room, user.former.epoch), user.id) end
    redis.call('ZADD', UNLISTED, 0, user.id)
  end
  return remember(user)
end

local function load_to_change(userId)
  local user = load(userId)
  return user and prepare_change(user)
end

-- The moment of a step of this user now: TIME, but never before an earlier moment of the user.
local function moment_of(user)
  local known = user.latestAtMs or math.max(user.lastActiveAtMs or 0, user.shownSinceMs or 0, user.shownLastActiveAtMs or 0)
  return math.max(known, nowMs)
end

-- Returns moment_of for something that keeps this date, and stores it as the user's latest moment.
local function date(user)
  user.latestAtMs = moment_of(user)
  return user.latestAtMs
end

local function session_view(session)
  return {
    session.id, session.device, session.rooms, session.startedAtMs, session.lastActiveAtMs, session.fence,
    session.leaseEndsSteadyMs and nowMs + (session.leaseEndsSteadyMs - steadyMs),
  }
end
