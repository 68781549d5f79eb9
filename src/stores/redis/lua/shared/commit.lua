-- All that follows from a user's state: lists, change log, records, deadlines and the bell. Whoever changes a user
-- commits the change here.

local function is_too_old(entry) return steadyMs - tonumber(entry[2][2]) >= timing.logAgeMs end

local function trim_log()
  -- One entry tells mostly that there is nothing to do; an entry of somebody in many rooms is long.
  local first = redis.call('XRANGE', LOG, '-', '+', 'COUNT', 1)[1]
  if not first or not is_too_old(first) then return end
  for _ = 1, 20 do
    local oldest = redis.call('XRANGE', LOG, '-', '+', 'COUNT', 50)
    local firstKept
    for _, entry in ipairs(oldest) do
      if not is_too_old(entry) then
        firstKept = entry[1]
        break
      end
    end
    if #oldest == 0 or firstKept == oldest[1][1] then return end
    if firstKept then return redis.call('XTRIM', LOG, 'MINID', firstKept) end
    redis.call('XTRIM', LOG, 'MINID', (number_of(oldest[#oldest]) + 1) .. '-0')
  end
end

-- One step of one user in the log. Returns its number and its text.
local function append(user, before, after)
  local seq = redis.call('HINCRBY', META, 'seq', 1)
  local entry = cjson.encode({ seq, date(user), before.public, before.rooms, after.public, after.rooms })
  redis.call('XADD', LOG, 'MAXLEN', timing.logCount, seq .. '-0', 'steadyMs', steadyMs, 'entry', entry)
  trim_log()
  return seq, entry
end

local function list(user, before, after)
  local isShown, wasShown = after.public[4], before.public[4]
  if isShown and not wasShown then
    redis.call('ZREM', UNLISTED, user.id)
    redis.call('ZADD', ONLINE, 0, user.id)
  elseif wasShown and not isShown then
    redis.call('ZREM', ONLINE, user.id)
    redis.call('ZADD', UNLISTED, 0, user.id)
  end
  for _, room in ipairs(before.rooms) do if not after.isIn[room] then redis.call('ZREM', room_key(room), user.id) end end
  for _, room in ipairs(after.rooms) do if not before.isIn[room] then redis.call('ZADD', room_key(room), 0, user.id) end end
end

-- finish: { atMs, reason } of a session that ended, false while it lives.
local function session_row(session, finish)
  return {
    session.startId, session.id, session.device, session.rooms, session.nodeId, session.hadSocket,
    session.startedAtMs, session.lastActiveAtMs, finish and finish.atMs, finish and finish.reason,
  }
end

local function record_of(user, rows)
  local profile = user.hasProfile and { user.name, user.avatarUrl, user.profileIssuedAtMs } or false
  local settings = false
  if are_settings_known(user) then
    settings = { user.settingsVersion, user.statusChoice, user.statusMessage, user.visibility, user.hideLastActive }
  end
  return cjson.encode({ user.id, profile, columns_of(user), rows, settings })
end

local function record(user, touched)
  local rows = {}
  for _, touch in ipairs(touched) do
    touch.session.hasUnrecordedActivity = false
    rows[#rows + 1] = session_row(touch.session, touch.finish)
  end
  for _, session in ipairs(user.sessions) do
    if session.hasUnrecordedActivity then
      session.hasUnrecordedActivity = false
      rows[#rows + 1] = session_row(session, false)
    end
  end
  user.activityFlushSteadyMs = false
  user.isRecorded = true
  local seq = redis.call('HINCRBY', META, 'recordSeq', 1)
  redis.call('XADD', RECORDS, 'MAXLEN', limits.recordsKept, seq .. '-0', 'record', record_of(user, rows))
  if #user.sessions == 0 then redis.call('ZADD', DEPARTING, seq, user.id) else redis.call('ZREM', DEPARTING, user.id) end
  return seq
end

local function schedule(user)
  local dueSteadyMs = next_flip_steady_ms(user)
  local function by(steady) if steady and (not dueSteadyMs or steady < dueSteadyMs) then dueSteadyMs = steady end end
  by(user.activityFlushSteadyMs)
  for _, session in ipairs(user.sessions) do by(session.leaseEndsSteadyMs) end
  if not dueSteadyMs then
    if user.dueSteadyMs then redis.call('ZREM', DUE, user.id) end
    user.dueSteadyMs = false
  -- What is due later than the order says is seen when the sweep comes by: a heartbeat moves nothing in it.
  elseif not user.dueSteadyMs or dueSteadyMs < user.dueSteadyMs or user.dueSteadyMs <= steadyMs then
    redis.call('ZADD', DUE, dueSteadyMs, user.id)
    user.dueSteadyMs = dueSteadyMs
  end
end

-- Rule 9: lastActive alone is no change.
local function is_same(before, after)
  for index = 2, 7 do if before.public[index] ~= after.public[index] then return false end end
  if #before.rooms ~= #after.rooms then return false end
  for _, room in ipairs(after.rooms) do if not before.isIn[room] then return false end end
  return true
end

-- Numbered, so that a node sees where one was lost.
local function ring(message)
  message.bell = redis.call('HINCRBY', META, 'bell', 1)
  message.epoch = meta.epoch
  redis.call('PUBLISH', BELL, cjson.encode(message))
end

-- Once after each `remember`.
-- step: { touched = { { session, finish } } (rows that changed), isViewerChanged, mustRecord, lostBy = { node ids that
-- should learn at once what they lost } }
local function commit(user, step)
  local before, touched = user.before, step.touched or {}
  local ownStatus = status_of(user)
  user.shownStatus = is_visible(user) and ownStatus or 'OFFLINE'
  user.shownSinceMs = user.shownStatus ~= 'OFFLINE' and (user.shownSinceMs or date(user)) or false
  local after = { public = public_of(user) }
  after.rooms, after.isIn = rooms_of(user)
  local isChanged = not is_same(before, after)
  if isChanged then list(user, before, after) end

  local isOwnStatusFlipped = ownStatus ~= user.ownStatus
  user.ownStatus = ownStatus
  if ownStatus == 'OFFLINE' then user.inheritedSinceMs = false end

  local columns = columns_of(user)
  local was = before.columns
  local areColumnsChanged = (columns and not was) or (was and not columns)
    or (columns and (columns[1] ~= was[1] or columns[2] ~= was[2] or (not columns[3]) ~= (not was[3])))
  local message = {}
  if step.mustRecord or #touched > 0 or areColumnsChanged then message.record = record(user, touched) end

  schedule(user)
  -- Nobody has a place in a log that cannot be read yet, and a new epoch finds everybody at once.
  if isChanged and not meta.isAnnouncing and (before.public[4] or after.public[4]) then
    message.seq, message.entry = append(user, before, after)
  end
  save(user)
  if step.isViewerChanged or isOwnStatusFlipped or isChanged then message.viewer = user.id end
  message.lostBy = step.lostBy
  if next(message) then ring(message) end
end
