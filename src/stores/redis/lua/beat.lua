-- beat: counts heartbeats, each for one session or for a user alone (rule 7).
-- Keep in step with src/stores/memory/index.ts (`beat`).
-- KEYS[1]  the root
-- ARGV[1]  the epoch that the node believes in
-- ARGV[2]  JSON: a list of Beat of src/presence/store.ts, each as { userId, sessionId, fence, isActive, profile, device,
--          rooms }; device and rooms are false or missing if they stay
-- Returns  JSON: one answer per beat, in order: { 'counted', session or false, lastActiveAtMs or false };
--          { 'late' } for an old fence and { 'unknown' } for no such session wrote nothing
local refusal = refuse_stranger(ARGV[1])
if refusal then return refusal end


local function beat(userId, sessionId, fence, isActive, profile, device, rooms)
  local user = load(userId)
  if not user then return { 'unknown' } end
  local isForUserAlone = not sessionId and is_on_socket(user)
  local session
  if not isForUserAlone then
    session = session_of(user, sessionId or limits.defaultSessionId)
    if not session then return { 'unknown' } end
  end
  if fence and (not session or session.fence ~= fence) then return { 'late' } end

  local isProfileNew = brings_profile(user, profile)
  local isDescribed = session and is_described_anew(session, device, rooms)
  -- Most heartbeats change nothing that anyone is told, so commit has nothing to compare.
  local isQuiet = not isProfileNew and not isDescribed and not flips_by_activity(user)
  if not isQuiet then prepare_change(user) end
  if isActive then count_activity(user, session, 0) end
  if session and not fence then renew_lease(session) end
  if isDescribed then describe(session, device, rooms) end
  if isProfileNew then take_profile(user, profile) end
  if isDescribed or isProfileNew or status_of(user) ~= user.ownStatus then
    commit(user, {
      touched = isDescribed and { { session = session, finish = false } } or {},
      isViewerChanged = isDescribed or isProfileNew,
      mustRecord = isProfileNew,
    })
  else
    schedule(user)
    save(user)
  end
  return { 'counted', session and session_view(session) or false, user.lastActiveAtMs }
end

local answers = {}
for index, one in ipairs(cjson.decode(ARGV[2])) do
  local userId, sessionId, fence, isActive, profile, device, rooms = unpack(one, 1, 7)
  -- `nil` leaves a device or rooms as they are, and `null` takes the device away.
  if device == false then device = nil end
  answers[index] = beat(userId, given(sessionId), given(fence), isActive, profile, device, rooms or nil)
end
return cjson.encode(answers)
