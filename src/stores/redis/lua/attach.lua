-- attach: starts a session, or attaches a live one to a socket (rules 4 and 6).
-- Keep in step with src/stores/memory/index.ts (`attach`).
-- KEYS[1]  the root
-- ARGV[1]  the epoch that the node believes in
-- ARGV[2]  the AttachRequest of src/presence/store.ts as JSON, and startId: the id of the start, if a session starts
-- Returns  JSON: { 'attached', session or false, replaced fence or false, lastActiveAtMs or false, lastActiveForMs,
--          now, isResumed, startId or false };
--          { 'unseeded' }, { 'full' } and { 'moved' } wrote nothing
local refusal = refuse_stranger(ARGV[1])
if refusal then return refusal end
local request = cjson.decode(ARGV[2])
local fence, nodeId, comeback = given(request.fence), given(request.nodeId), given(request.comeback)
local seed = given(request.seed)

local known = load_to_change(request.userId)
local beats = request.onlyAfterBeats
if beats and not (known and is_back_by_beats(known, request.sessionId, beats)) then
  return cjson.encode({ 'moved' })
end
-- A comeback needs no seed: the adoption confirms its user.
local isSeedNeeded = not known or (known.isUnconfirmed and not comeback)
if isSeedNeeded and not seed then return cjson.encode({ 'unseeded' }) end
if fence and redis.call('EXISTS', refused_key(fence)) == 1 then return cjson.encode({ 'moved' }) end
local isForUserAlone = not given(request.sessionId) and known and is_on_socket(known)
local sessionId = given(request.sessionId) or limits.defaultSessionId
local live = not isForUserAlone and known and session_of(known, sessionId) or nil
local heldElsewhere = live and live.fence ~= fence and live.fence or false
if comeback and heldElsewhere then
  local isTheirs = false
  for _, former in ipairs(comeback.formerFences) do if former == heldElsewhere then isTheirs = true end end
  if not isTheirs then return cjson.encode({ 'moved' }) end
end
local isTakeover = fence and known and sessionId ~= limits.defaultSessionId
local takenOver = isTakeover and default_by_beats(known) or nil
local otherCount = (known and #known.sessions or 0) - (takenOver and 1 or 0)
local isOneTooMany = not isForUserAlone and not live and otherCount >= timing.sessionsPerUser
local displaced = isOneTooMany and known and first_to_give_way(known, takenOver) or nil
if isOneTooMany and not displaced then return cjson.encode({ 'full' }) end

local user = known or admit(request.userId, seed)
local isSeedNew = known and seed and take_seed(user, seed)
local areSettingsNew = known and seed and take_settings(user, given(seed.settings), seed)
local isProfileNew = take_profile(user, request.profile) or isSeedNew or areSettingsNew
if isForUserAlone then
  if request.isActive then count_activity(user, nil, 0) end
  commit(user, { isViewerChanged = isProfileNew, mustRecord = isProfileNew })
  return cjson.encode({ 'attached', false, false, user.lastActiveAtMs, 0, moment_of(user), false, false })
end

local touched = {}
local function end_instead(session, reason)
  if session then touched[#touched + 1] = { session = session, finish = end_session(user, session, reason) } end
end
end_instead(displaced, 'DISPLACED')
end_instead(takenOver, 'TAKEN_OVER')

-- False if a goOffline came after the last activity of the session that the node attaches again.
local function is_news()
  return not user.isActivityOver or steadyMs - comeback.lastActiveForMs > user.activityOverSteadyMs
end

-- Counts the activity of a comeback for a live session, if it is newer than the session's last activity.
local function bring_activity(session)
  local isNewer = steadyMs - comeback.lastActiveForMs > session.lastActiveSteadyMs
  if isNewer and is_news() then count_activity(user, session, comeback.lastActiveForMs) end
end

local function start_session()
  local atMs = date(user)
  local startedAtMs = atMs - (comeback and comeback.startedForMs or 0)
  -- A session that starts without activity must not appear to have had some.
  local lastActiveAtMs = comeback and atMs - comeback.lastActiveForMs
    or math.min(startedAtMs, user.lastActiveAtMs or startedAtMs)
  local lastActiveSteadyMs = comeback and steadyMs - comeback.lastActiveForMs or user.lastActiveSteadyMs or steadyMs
  local session = create_session(sessionId, request.startId, startedAtMs, lastActiveAtMs, lastActiveSteadyMs)
  -- The database may have the session open under another start id, which has not been read yet.
  session.mayTakeRow = not meta.isAdopted and not comeback
  add_session(user, session)
  if comeback and is_news() then count_activity(user, session, comeback.lastActiveForMs) end
  if not comeback and request.isActive then count_activity(user, session, 0) end
  return session
end

local session = live or start_session()
if not live and takenOver then describe(session, takenOver.device, takenOver.rooms) end
-- Over HTTP this attach was a beat that found no session. If the session exists by now, the beat counts.
if live and not fence and request.isActive then count_activity(user, session, 0) end
if live and comeback then bring_activity(session) end
-- A comeback does not overwrite the device and rooms of a live session, which may have changed over HTTP. But an
-- inherited session may lack the last changes, which its node has.
local isDescribed = (not live or not comeback or live.isInherited) and describe(session, request.device, request.rooms)
if fence then hang(user, session, fence, nodeId) else renew_lease(session) end
touched[#touched + 1] = { session = session, finish = false }
commit(user, {
  touched = touched,
  isViewerChanged = isDescribed or isProfileNew or not live or session.fence ~= false,
})
return cjson.encode({
  'attached', session_view(session), heldElsewhere, user.lastActiveAtMs, steadyMs - session.lastActiveSteadyMs, moment_of(user),
  live ~= nil, session.startId,
})
