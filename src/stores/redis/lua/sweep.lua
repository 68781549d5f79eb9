-- sweep: does what is due: leases that passed, users who fall away or idle, activity to be recorded. Ends the time of
-- announcements where it is over.
-- KEYS[1]  the root
-- ARGV[1]  the epoch that the node believes in
-- ARGV[2]  at most so many users
-- Returns  JSON: { number of users, whether there is more, whether it came late itself and judged nobody }
local refusal = refuse_stranger(ARGV[1])
if refusal then return refusal end
local limit = tonumber(ARGV[2])
local wasLate = nowMs - meta.sweptAtMs > limits.sweepLateMs
  or redis.call('HGET', META, 'isSweepLate') == '1'
redis.call('HSET', META, 'sweptAtMs', nowMs, 'isSweepLate', 0)

if meta.isAnnouncing then
  local opened = tonumber(redis.call('HGET', META, 'openedAtMs'))
  local isWaitedFor = redis.call('EXISTS', ANNOUNCING) == 1 or not meta.isAdopted
  if nowMs >= opened + 2 * timing.nodeRenewMs and (not isWaitedFor or nowMs >= opened + timing.nodeTtlMs) then
    redis.call('HSET', META, 'isAnnouncing', 0)
    redis.call('DEL', ANNOUNCING)
    ring({ isOpen = true })
  end
  return cjson.encode({ 0, false, wasLate })
end
trim_log()

-- The clock was set back: whoever is due by the one of before is scheduled anew, a few at a time.
local from = redis.call('HGET', META, 'rescheduleFrom')
if from then
  local scan = redis.call('ZSCAN', DUE, from, 'COUNT', limit)
  for index = 1, #scan[2], 2 do
    local user = load_to_change(scan[2][index])
    if user then
      user.dueAtMs = false
      schedule(user)
      save(user)
    end
  end
  if scan[1] ~= '0' then
    redis.call('HSET', META, 'rescheduleFrom', scan[1])
    return cjson.encode({ 0, true, wasLate })
  end
  redis.call('HDEL', META, 'rescheduleFrom')
end
if wasLate or is_calm() then return cjson.encode({ 0, false, wasLate }) end

local due = redis.call('ZRANGEBYSCORE', DUE, '-inf', nowMs, 'LIMIT', 0, limit + 1)
local count = math.min(#due, limit)
for index = 1, count do
  local user = load_to_change(due[index])
  if not user then
    redis.call('ZREM', DUE, due[index])
  else
    local ending, touched = {}, {}
    for _, session in ipairs(user.sessions) do
      if session.leaseEndsAtMs and session.leaseEndsAtMs <= nowMs then ending[#ending + 1] = session end
    end
    for position, session in ipairs(ending) do
      touched[position] = { session = session, finish = end_session(user, session, session.leaseReason) }
    end
    local mustRecord = user.activityFlushAtMs and user.activityFlushAtMs <= nowMs
    commit(user, { touched = touched, isViewerChanged = #touched > 0, mustRecord = mustRecord })
  end
end
return cjson.encode({ count, #due > limit, false })
