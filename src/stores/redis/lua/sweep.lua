-- sweep: handles passed deadlines: ends sessions whose lease passed, updates users who become away or idle, and records
-- activity. Also ends the time of announcements.
-- Keep in step with src/stores/memory/index.ts (`sweep`, `settle`).
-- KEYS[1]  the root
-- ARGV[1]  the epoch that the node believes in
-- ARGV[2]  most users to handle
-- ARGV[3]  ms since the last sweep of this node, by its own clock; '' before its first sweep
-- Returns  JSON: { number of users, whether there are more, whether this call was late itself and so handled none,
--          skewMs }
local limit, ownGapMs = tonumber(ARGV[2]), tonumber(ARGV[3])
local refusal = refuse_stranger(ARGV[1], ownGapMs)
if refusal then return refusal end
local gapMs = nowMs - meta.sweptAtMs
-- The last sweep was at or after this node's own, so no more than ownGapMs can have passed: TIME was set forward, by
-- less than would begin a pause.
if ownGapMs and gapMs > ownGapMs + limits.stepForwardMs then
  meta.skewMs = meta.skewMs + gapMs - ownGapMs
  steadyMs = nowMs - meta.skewMs
  gapMs = ownGapMs
end
local wasLate = gapMs > limits.sweepLateMs or redis.call('HGET', META, 'isSweepLate') == '1'
redis.call('HSET', META, 'sweptAtMs', nowMs, 'isSweepLate', 0, 'skewMs', meta.skewMs)
local function answer(count, hasMore, isLate) return cjson.encode({ count, hasMore, isLate, meta.skewMs }) end

if meta.isAnnouncing then
  local opened = tonumber(redis.call('HGET', META, 'openedAtMs'))
  local isWaitedFor = redis.call('EXISTS', ANNOUNCING) == 1 or not meta.isAdopted
  if steadyMs >= opened + 2 * timing.nodeRenewMs and (not isWaitedFor or steadyMs >= opened + timing.nodeTtlMs) then
    redis.call('HSET', META, 'isAnnouncing', 0)
    redis.call('DEL', ANNOUNCING)
    ring({ isOpen = true })
  end
  return answer(0, false, wasLate)
end
trim_log()

if wasLate or is_calm() then return answer(0, false, wasLate) end

local due = redis.call('ZRANGEBYSCORE', DUE, '-inf', steadyMs, 'LIMIT', 0, limit + 1)
local count, recordSeq = math.min(#due, limit), nil
for index = 1, count do
  local user = load_to_change(due[index])
  if not user then
    redis.call('ZREM', DUE, due[index])
  else
    local ending, touched = {}, {}
    for _, session in ipairs(user.sessions) do
      if session.leaseEndsSteadyMs and session.leaseEndsSteadyMs <= steadyMs then
        local heldUntilMs = held_until(session)
        if heldUntilMs > steadyMs then
          session.leaseEndsSteadyMs = heldUntilMs
        else
          ending[#ending + 1] = session
        end
      end
    end
    for position, session in ipairs(ending) do
      touched[position] = { session = session, finish = end_session(user, session, session.leaseReason) }
    end
    local mustRecord = user.activityFlushSteadyMs and user.activityFlushSteadyMs <= steadyMs
    local step = { touched = touched, isViewerChanged = #touched > 0, mustRecord = mustRecord, isOneOfMany = true }
    recordSeq = commit(user, step) or recordSeq
  end
end
if recordSeq then ring({ record = recordSeq }) end
return answer(count, #due > limit, false)
