-- beat: counts heartbeats, each for one session or for a user alone (rule 7).
-- Keep in step with src/stores/memory/index.ts (`beat`).
-- KEYS[1]  the root
-- ARGV[1]  the epoch that the node believes in
-- ARGV[2]  JSON: a list of Beat of src/presence/store.ts
-- Returns  JSON: one answer per beat, in order: { 'counted', session or false, lastActiveAtMs or false };
--          { 'late' } for an old fence and { 'unknown' } for no such session wrote nothing
local refusal = refuse_stranger(ARGV[1])
if refusal then return refusal end

local function beat(one)
  local user = load_to_change(one.userId)
  if not user then return { 'unknown' } end
  local fence = given(one.fence)
  local isForUserAlone = not given(one.sessionId) and is_on_socket(user)
  local session
  if not isForUserAlone then
    session = session_of(user, given(one.sessionId) or limits.defaultSessionId)
    if not session then return { 'unknown' } end
  end
  if fence and (not session or session.fence ~= fence) then return { 'late' } end

  if one.isActive then count_activity(user, session, 0) end
  if session and not fence then renew_lease(session) end
  local isDescribed = session and describe(session, one.device, one.rooms)
  local isProfileNew = take_profile(user, one.profile)
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
for index, one in ipairs(cjson.decode(ARGV[2])) do answers[index] = beat(one) end
return cjson.encode(answers)
