-- attach: starts a session, or hangs a live one on a socket (rules 4 and 6).
-- KEYS[1]  the root
-- ARGV[1]  the epoch that the node believes in
-- ARGV[2]  the AttachRequest of src/presence/store.ts as JSON, and startId: a name for the start that it may be
-- Returns  JSON: { 'attached', session or false, replaced fence or false, lastActiveAtMs or false, lastActiveForMs, now,
--          isResumed, startId or false };
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
-- A node that announces need not ask: its users are adopted.
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

-- A session that a node brings back may be older than a goOffline that came in between.
local function is_news()
  return not user.isActivityOver or steadyMs - comeback.lastActiveForMs > user.activityOverSteadyMs
end

-- To a session that is live: where it is newer than what is known.
local function bring_activity(session)
  local isNewer = steadyMs - comeback.lastActiveForMs > session.lastActiveSteadyMs
  if isNewer and is_news() then count_activity(user, session, comeback.lastActiveForMs) end
end

local function start_session()
  local atMs = date(user)
  local startedAtMs = atMs - (comeback and comeback.startedForMs or 0)
  -- Without activity of its own it must not look as if there had been some.
  local lastActiveAtMs = comeback and atMs - comeback.lastActiveForMs
    or math.min(startedAtMs, user.lastActiveAtMs or startedAtMs)
  local lastActiveSteadyMs = comeback and steadyMs - comeback.lastActiveForMs or user.lastActiveSteadyMs or steadyMs
  local session = create_session(sessionId, request.startId, startedAtMs, lastActiveAtMs, lastActiveSteadyMs)
  -- The database may have it open under another start, which nobody has read yet.
  session.mayTakeRow = not meta.isAdopted and not comeback
  add_session(user, session)
  if comeback and is_news() then count_activity(user, session, comeback.lastActiveForMs) end
  if not comeback and request.isActive then count_activity(user, session, 0) end
  return session
end

local session = live or start_session()
if not live and takenOver then describe(session, takenOver.device, takenOver.rooms) end
-- Over HTTP this was a beat that found no session: where one has come since, the beat counts.
if live and not fence and request.isActive then count_activity(user, session, 0) end
if live and comeback then bring_activity(session) end
-- A session that lives keeps its own, which may have been changed over HTTP. But of an inherited one the last changes may
-- be lost, and its node knows them.
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
