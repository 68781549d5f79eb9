-- A user with their sessions: one value, so that a step of a user reads once and writes once.
local USER_FIELDS = {
  'hasProfile', 'name', 'avatarUrl', 'profileIssuedAtMs',
  'settingsVersion', 'statusChoice', 'statusMessage', 'visibility', 'hideLastActive', -- version false: not known
  'lastActiveAtMs', 'isActivityOver', 'activityOverSteadyMs', 'shownSinceMs', 'shownLastActiveAtMs',
  'shownStatus', -- what the log said last
  'ownStatus', -- the user's own truth at the last step
  'activityFlushSteadyMs', 'dueSteadyMs', 'isRecorded',
  'lastActiveSteadyMs',
  'wentOfflineAtMs', -- when goOffline ended a session the last time
  'latestAtMs', -- the latest moment that anything of theirs was dated: their moments never go back
  'epoch', -- in which this was written
  'isInherited', -- from an epoch before, and their row has not been read in this one
  'isUnconfirmed', -- the settings are those of an epoch before, and nobody has confirmed them in this one
  'inheritedSinceMs', -- since when everyone saw them online in the epoch before, until they are adopted
  'mayHaveTrail', -- shared/trail.lua: false where there is none in this epoch
  'isFrozenAtHiding', -- written by a version in which shownLastActiveAtMs is what everyone sees of a hidden user
}
local SESSION_FIELDS = {
  'id', 'startId', 'device', 'rooms', 'fence', 'nodeId', 'hadSocket', 'startedAtMs', 'lastActiveAtMs',
  'leaseEndsSteadyMs', 'leaseReason', 'isInGrace', 'hasUnrecordedActivity',
  'lastActiveSteadyMs',
  'reapedFence', -- reaped from it, while nobody has told yet how that socket was lost
  'isInherited', -- from an epoch before, and nobody has shown in this one that it lives
  'mayTakeRow', -- started before the database's open sessions were adopted, so it may be one of them
}

local ROOMS_FIELD = 4

local LONGEST_LEASE_MS = math.max(timing.sessionTtlMs, timing.nodeTtlMs + timing.reconnectGraceMs, timing.closeGraceMs)

-- rooms: what stands in the place of a session's rooms, nil for a user.
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

-- The rooms of a session that is in many lie apart, in rooms_key: a heartbeat, or a step of another session, neither
-- reads nor writes them. In the user's value stands `true` for them. `knownRooms` are those, once they were read.
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

-- The list of a session's rooms, or the session itself where that lies apart, as it is there. No list is changed in place.
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

-- What is to be saved of a session's rooms. Those that lie apart are written only where they changed.
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

-- When time alone changes one of these two, false where it never does.
local function next_flip_steady_ms(user)
  if not is_online(user) then return false end
  local awayMs = user.lastActiveSteadyMs + timing.awayAfterMs
  local isAutomatic = not user.settingsVersion or user.statusChoice == 'AUTOMATIC'
  if isAutomatic and judged_ms() < awayMs then return awayMs end
  return user.lastActiveSteadyMs + timing.idleTimeoutMs
end

local function shown_last_active(user)
  if user.isUnconfirmed or (is_visible(user) and user.hideLastActive) then return false end
  return user.shownLastActiveAtMs
end

-- What everyone sees, in the order that src/stores/redis/answers.ts reads: as the log said it last, with the
-- activity since.
local function public_of(user)
  local isShown = user.shownStatus ~= 'OFFLINE'
  return {
    user.id, user.name or user.id, user.avatarUrl, isShown, user.shownStatus,
    isShown and user.statusMessage or false, isShown and user.shownSinceMs or false, shown_last_active(user),
  }
end

-- By session: the list of rooms of each, as it is when this is called.
local function lists_of(user)
  local lists = {}
  for _, session in ipairs(user.sessions) do lists[session] = list_of(session) end
  return lists
end

-- All rooms of some lists, each once.
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

-- The public columns of the database, false while the settings are not known.
local function columns_of(user)
  if not are_settings_known(user) then return false end
  local isShown = user.shownStatus ~= 'OFFLINE'
  return { isShown, isShown and user.shownSinceMs or false, shown_last_active(user) }
end

-- Keeps what was, to see what a step changes.
local function remember(user)
  user.before = { public = public_of(user), columns = user.isRecorded and columns_of(user), lists = lists_of(user) }
  return user
end

-- The user was written in an epoch before, of which the state may be an older copy: whether they hid or left since is not
-- known. So they are in no list until their settings are confirmed.
local function inherit(user)
  user.former = { epoch = user.epoch, rooms = user.shownStatus ~= 'OFFLINE' and union_of(lists_of(user)) or {} }
  user.epoch = meta.epoch
  user.isInherited, user.isUnconfirmed = true, true
  user.inheritedSinceMs = user.shownStatus ~= 'OFFLINE' and user.shownSinceMs or user.inheritedSinceMs
  user.shownStatus = 'OFFLINE'
  user.shownSinceMs = false
  for _, session in ipairs(user.sessions) do session.isInherited = true end
end

-- The user as the store has them, nil where it does not know them.
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
    -- A version before this one counted leases and activity by TIME, which may be ahead.
    if session.leaseEndsSteadyMs then
      session.leaseEndsSteadyMs = math.min(session.leaseEndsSteadyMs, steadyMs + LONGEST_LEASE_MS)
    end
    session.lastActiveSteadyMs = math.min(session.lastActiveSteadyMs or session.lastActiveAtMs, steadyMs)
    user.sessions[index] = session
  end
  if user.lastActiveAtMs then
    user.lastActiveSteadyMs = math.min(user.lastActiveSteadyMs or user.lastActiveAtMs, steadyMs)
  end
  -- A version before this one went by hideLastActive, also while the user was hidden.
  if not user.isFrozenAtHiding and user.hideLastActive and user.visibility == 'NOBODY' then
    user.shownLastActiveAtMs = false
  end
  user.isFrozenAtHiding = true
  if user.epoch ~= meta.epoch then inherit(user) end
  return user
end

local function load_to_change(userId)
  local user = load(userId)
  if not user then return nil end
  if user.former then
    for _, room in ipairs(user.former.rooms) do redis.call('ZREM', room_key(room, user.former.epoch), userId) end
    redis.call('ZADD', UNLISTED, 0, userId)
  end
  return remember(user)
end

-- The moment of what happens to a user now: that of TIME, but never before one that was told of them.
local function moment_of(user)
  local known = user.latestAtMs or math.max(user.lastActiveAtMs or 0, user.shownSinceMs or 0, user.shownLastActiveAtMs or 0)
  return math.max(known, nowMs)
end

-- The same, of something that is dated by it for good.
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
