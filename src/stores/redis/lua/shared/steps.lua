-- The steps of a user or a session. They change the state only; commit (shared/commit.lua) derives the rest.
-- Keep in step with src/stores/memory/user-steps.ts, with `admit` of src/stores/memory/population.ts, and with
-- `newerSettings`, `newerProfile` and `shownMomentsAfter` of src/presence/rules.ts.

local function later(one, other)
  if not one or not other then return one or other end
  return math.max(one, other)
end

-- session: the one in which the user was active, nil if unknown. agoMs: how long ago the activity was.
local function count_activity(user, session, agoMs)
  local atMs, activeSteadyMs = date(user) - agoMs, steadyMs - agoMs
  user.isActivityOver = false
  user.lastActiveSteadyMs = math.max(activeSteadyMs, user.lastActiveSteadyMs or activeSteadyMs)
  user.lastActiveAtMs = math.max(atMs, user.lastActiveAtMs or 0)
  if is_visible(user) then user.shownLastActiveAtMs = math.max(atMs, user.shownLastActiveAtMs or 0) end
  if session then
    session.lastActiveAtMs = math.max(atMs, session.lastActiveAtMs)
    session.lastActiveSteadyMs = math.max(activeSteadyMs, session.lastActiveSteadyMs)
    session.hasUnrecordedActivity = true
  end
  user.activityFlushSteadyMs = user.activityFlushSteadyMs or activeSteadyMs + timing.lastActiveFlushMs
end

-- For goOffline: only later activity brings the user back online.
local function end_activity(user)
  user.isActivityOver = true
  user.activityOverSteadyMs = steadyMs
end

-- The settings in the form of the Settings type, for JSON; false while they are not known.
local function settings_of(user)
  if not user.settingsVersion then return false end
  return {
    version = user.settingsVersion, statusChoice = user.statusChoice, statusMessage = user.statusMessage,
    visibility = user.visibility, hideLastActive = user.hideLastActive,
  }
end

-- newerSettings of src/presence/rules.ts. Returns `current` itself if nothing changes.
local function newer_settings(current, brought)
  if not brought then return current end
  if not current or brought.version > current.version then return brought end
  if brought.version < current.version then return current end
  local message = given(current.statusMessage)
  local isPublic = brought.visibility == 'EVERYONE' or brought.visibility == current.visibility
  local isLastActivePublic = not brought.hideLastActive or current.hideLastActive
  local isMessageLacking = message and not given(brought.statusMessage)
  if isPublic and isLastActivePublic and not isMessageLacking then return current end
  return {
    version = current.version, statusChoice = current.statusChoice, statusMessage = not isMessageLacking and message,
    visibility = isPublic and current.visibility or 'NOBODY',
    hideLastActive = current.hideLastActive or not isLastActivePublic,
  }
end

-- The settings of the earlier epoch are confirmed, or replaced by newer ones: everyone sees again what they saw before.
local function show_again(user, formerVersion, formerVisibility)
  -- Newer settings may have hidden the user in between.
  if user.settingsVersion ~= formerVersion then user.inheritedSinceMs = false end
  local sinceMs = user.inheritedSinceMs
  if formerVisibility == 'NOBODY' then
    if is_online(user) then user.shownLastActiveAtMs = date(user) end
  elseif sinceMs and user.lastActiveAtMs and user.lastActiveAtMs >= sinceMs then
    user.shownLastActiveAtMs = later(user.shownLastActiveAtMs, user.lastActiveAtMs)
  end
  user.shownSinceMs = sinceMs
end

-- Replaces a moment of the future by now. A row may contain one, written while a clock was ahead.
local function cut_to_now(moment)
  return given(moment) and math.min(moment, nowMs)
end

-- A step into hiding applies its hideLastActive at once; a later change of a hidden user applies when the user is
-- visible again. The row went through each step: if it has these settings, it has what everyone saw after the last
-- step.
local function freeze_moments(user, row)
  if not user.hideLastActive then return end
  local isOfRow = row and given(row.settings) and row.settings.version == user.settingsVersion
  user.shownLastActiveAtMs = isOfRow and cut_to_now(row.shownLastActiveAtMs)
  user.shownLastSeenAtMs = isOfRow and cut_to_now(row.shownLastSeenAtMs)
end

-- row: the UserSeed that the settings came with; nil if it was not read.
-- Returns whether the settings changed, or were confirmed.
local function take_settings(user, settings, row)
  if not settings then return false end
  local current = settings_of(user)
  local newer = newer_settings(current, settings)
  if newer == current and not user.isUnconfirmed then return false end
  local wasVisible, wasUnconfirmed = is_visible(user), user.isUnconfirmed
  -- While the store had no settings, the row decided what everyone saw.
  local isRowVisible = not current and row and given(row.settings) and row.settings.visibility == 'EVERYONE'
  -- Newer settings may belong to another time in hiding.
  local isOvertaken = wasUnconfirmed and current and current.version ~= newer.version
  user.settingsVersion = newer.version
  user.statusChoice = newer.statusChoice
  user.statusMessage = given(newer.statusMessage)
  user.visibility = newer.visibility
  user.hideLastActive = newer.hideLastActive
  user.isUnconfirmed = false
  if not is_visible(user) then
    user.inheritedSinceMs = false
    if wasVisible or isRowVisible or isOvertaken then freeze_moments(user, row) end
  elseif wasUnconfirmed and current then
    show_again(user, current.version, current.visibility)
  -- The last activity becomes now, so that it reveals nothing of the time in hiding (rule 8).
  elseif not wasVisible and is_online(user) then
    user.shownLastActiveAtMs = date(user)
  end
  return true
end

-- newerProfile of src/presence/rules.ts: the newer one wins, and the fields that it leaves out stay.
-- Both: { name, avatarUrl, issuedAtMs } or false.
local function newer_profile(current, brought)
  if not brought or (not given(brought.name) and not given(brought.avatarUrl)) then return current end
  if not current then return brought end
  if brought.issuedAtMs <= current.issuedAtMs then return current end
  return {
    name = given(brought.name) or given(current.name),
    avatarUrl = given(brought.avatarUrl) or given(current.avatarUrl),
    issuedAtMs = brought.issuedAtMs,
  }
end

local function profile_of(user)
  if not user.hasProfile then return false end
  return { name = user.name, avatarUrl = user.avatarUrl, issuedAtMs = user.profileIssuedAtMs }
end

local function set_profile(user, profile)
  user.hasProfile = profile and true
  user.name = profile and given(profile.name)
  user.avatarUrl = profile and given(profile.avatarUrl)
  user.profileIssuedAtMs = profile and profile.issuedAtMs
end

local function take_profile(user, profile)
  local current = profile_of(user)
  local newer = newer_profile(current, given(profile))
  if newer == current then return false end
  set_profile(user, newer)
  return true
end

-- Whether take_profile would change the user.
local function brings_profile(user, profile)
  if not given(profile) or (user.hasProfile and profile.issuedAtMs <= user.profileIssuedAtMs) then return false end
  local current = profile_of(user)
  return newer_profile(current, profile) ~= current
end

-- Converts a moment of the database to the steady clock.
local function steady_of(moment) return steadyMs - math.max(0, nowMs - moment) end

-- Applies a row that was read after the user was admitted without it, or at the same time. take_settings applies its
-- settings.
-- Returns whether the name or the avatar changed.
local function take_seed(user, seed)
  -- If there was no activity since, the row decides whether the user went offline.
  if not user.lastActiveAtMs and seed.isActivityOver then end_activity(user) end
  local lastActiveAtMs = cut_to_now(seed.lastActiveAtMs)
  if user.isInherited and seed.isActivityOver and lastActiveAtMs and (user.lastActiveAtMs or 0) <= lastActiveAtMs then
    end_activity(user)
    -- A node that has not announced its sessions yet may bring later activity.
    user.activityOverSteadyMs = steady_of(lastActiveAtMs)
  end
  user.isInherited = false
  if lastActiveAtMs then user.lastActiveSteadyMs = later(user.lastActiveSteadyMs, steady_of(lastActiveAtMs)) end
  user.lastActiveAtMs = later(user.lastActiveAtMs, lastActiveAtMs)
  user.shownLastActiveAtMs = later(user.shownLastActiveAtMs, cut_to_now(seed.shownLastActiveAtMs))
  user.shownLastSeenAtMs = later(user.shownLastSeenAtMs, cut_to_now(seed.shownLastSeenAtMs))
  user.latestAtMs = math.max(user.latestAtMs or 0, user.lastActiveAtMs or 0, user.shownLastActiveAtMs or 0,
    user.shownLastSeenAtMs or 0)
  local name, avatarUrl = user.name, user.avatarUrl
  -- Merge as if the row had come first: an older token changes nothing, and a newer one keeps the fields it leaves out.
  set_profile(user, newer_profile(given(seed.profile), profile_of(user)))
  return user.name ~= name or user.avatarUrl ~= avatarUrl
end

-- Whether a device or rooms differ from those of the session. device, rooms: nil if left out.
local function is_described_anew(session, device, rooms)
  if device ~= nil and given(device) ~= session.device then return true end
  if rooms == nil then return false end
  if #rooms ~= #session.rooms then return true end
  local isIn = {}
  for _, room in ipairs(session.rooms) do isIn[room] = true end
  for _, room in ipairs(rooms) do if not isIn[room] then return true end end
  return false
end

-- Returns whether the device or the rooms changed.
local function describe(session, device, rooms)
  if not is_described_anew(session, device, rooms) then return false end
  if device ~= nil then session.device = given(device) end
  if rooms ~= nil then session.rooms = rooms end
  return true
end

-- Whether the client of one of these sessions can have sent a beat without a session id (rule 7).
local function is_on_socket(user)
  for _, session in ipairs(user.sessions) do if session.fence or session.isInGrace then return true end end
  return false
end

local function lives_by_beats(session) return not session.fence and not session.isInGrace end

-- The session `default` if it lives by heartbeats, else nil. A socket of its user takes over from it (rule 7).
local function default_by_beats(user)
  local session = session_of(user, limits.defaultSessionId)
  return session and lives_by_beats(session) and session or nil
end

-- Whether the client of a socket whose session went offline has come back over HTTP: onlyAfterBeats.
local function is_back_by_beats(user, sessionId, onlyAfterBeats)
  if not is_online(user) then return false end
  local own = session_of(user, sessionId)
  if own or onlyAfterBeats == 'own' then return own and lives_by_beats(own) end
  local other = default_by_beats(user)
  return other and other.startedAtMs >= (user.wentOfflineAtMs or 0) and not is_on_socket(user)
end

-- Whether a socket attached in this epoch has the session, or the session is in the grace after one.
local function is_on_own_socket(session)
  return session.fence or session.isInGrace and session.leaseReason ~= 'SERVER_RESTART'
end

-- The session without a socket whose lease ends first; nil if all sessions have a socket.
-- except: a session that ends in this step anyway, or nil.
local function first_to_give_way(user, except)
  local first
  for _, session in ipairs(user.sessions) do
    local endsSteadyMs = session.leaseEndsSteadyMs
    local isFirst = endsSteadyMs and (not first or endsSteadyMs < first.leaseEndsSteadyMs)
    if isFirst and session ~= except then first = session end
  end
  return first
end

-- Applies a heartbeat over HTTP: extends the lease to SESSION_TTL, and never shortens it.
local function renew_lease(session)
  if session.fence then return end
  local renewedMs = steadyMs + timing.sessionTtlMs
  if session.leaseEndsSteadyMs and session.leaseEndsSteadyMs > renewedMs then return end
  session.leaseEndsSteadyMs = renewedMs
  session.leaseReason = 'EXPIRED'
  session.reapedFence = false
  session.isInGrace = false
  session.isInherited = false
end

local function create_session(id, startId, startedAtMs, lastActiveAtMs, lastActiveSteadyMs)
  return {
    id = id, startId = startId, device = false, rooms = {}, fence = false, nodeId = false, hadSocket = false,
    startedAtMs = startedAtMs, lastActiveAtMs = lastActiveAtMs, leaseEndsSteadyMs = false, leaseReason = 'EXPIRED',
    isInGrace = false, hasUnrecordedActivity = false, lastActiveSteadyMs = lastActiveSteadyMs, isInherited = false,
  }
end

-- Adds a user who is not in the store.
local function admit(userId, seed)
  local user = { id = userId, sessions = {}, shownStatus = 'OFFLINE', ownStatus = 'OFFLINE', epoch = meta.epoch }
  user.isFrozenAtHiding = true
  set_profile(user, given(seed.profile))
  local ahead = redis.call('GET', ahead_key(userId))
  user.lastActiveAtMs = cut_to_now(seed.lastActiveAtMs)
  user.lastActiveSteadyMs = user.lastActiveAtMs and steady_of(user.lastActiveAtMs)
  user.shownLastActiveAtMs = cut_to_now(seed.shownLastActiveAtMs)
  user.shownLastSeenAtMs = cut_to_now(seed.shownLastSeenAtMs)
  user.latestAtMs = math.max(user.lastActiveAtMs or 0, user.shownLastActiveAtMs or 0, user.shownLastSeenAtMs or 0)
  take_settings(user, newer_settings(given(seed.settings), ahead and cjson.decode(ahead)), seed)
  user.isActivityOver = seed.isActivityOver
  user.activityOverSteadyMs = steadyMs
  user.wentOfflineAtMs = nowMs
  user.shownSinceMs = false
  -- The user may have a trail from an earlier stay in the store.
  user.mayHaveTrail = true
  redis.call('ZADD', UNLISTED, 0, userId)
  return remember(user)
end
