-- count-kept: counts activity that waited at a node for ACTIVITY_LAG (src/stores/redis/kept-activity.ts).
-- KEYS[1]  the root
-- ARGV[1]  the epoch that the node believes in
-- ARGV[2]  JSON: for each session, in one list: user id, session id, fence, how many ms ago the activity was
-- Returns  the places, from 0, of the sessions that are no longer on that socket
local refusal = refuse_stranger(ARGV[1])
if refusal then return refusal end

local recordSeq = false

-- The activity has waited already, so it is recorded at once, unless the sweep is about to record the user anyway.
local function record_activity(user, isAboutToBeRecorded)
  if isAboutToBeRecorded or meta.isAnnouncing or not meta.isAdopted then return end
  recordSeq = record(user, {})
end

-- Returns whether the session is still on its socket.
local function count_kept(userId, sessionId, fence, agoMs)
  local user = load(userId)
  local session = user and session_of(user, sessionId)
  local isHeld = session and session.fence == fence
  -- A goOffline that came after the activity ends it.
  if not user or (user.isActivityOver and steadyMs - agoMs <= user.activityOverSteadyMs) then return isHeld end
  if not session or (session.fence or session.reapedFence) ~= fence then session = nil end
  if not flips_by_activity(user) then
    local isAboutToBeRecorded = user.activityFlushSteadyMs
    count_activity(user, session, agoMs)
    record_activity(user, isAboutToBeRecorded)
    schedule(user)
    save(user)
  elseif session then
    -- Redis was away for longer than the activity may wait.
    prepare_change(user)
    count_activity(user, session, agoMs)
    commit(user, {})
  end
  return isHeld
end

local lost, kept = {}, cjson.decode(ARGV[2])
for first = 1, #kept, 4 do
  if not count_kept(kept[first], kept[first + 1], kept[first + 2], kept[first + 3]) then
    lost[#lost + 1] = (first - 1) / 4
  end
end
if recordSeq then ring({ record = recordSeq }) end
return lost
