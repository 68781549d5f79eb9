-- What commit derives from a user's state: lists, change log, records, deadlines and notifications. Every script that
-- changes a user calls commit.
-- Keep in step with src/stores/memory/population.ts.

-- Fields of an entry are read by position: XRANGE returns { id, { name, value, ... } }.
local function written_ms(entry) return tonumber(entry[2][2]) end
local function text_of(entry) return entry[2][4] end
-- The user whose trail has the rooms of the entry; nil if the entry names them itself.
local function trail_of(entry) return entry[2][8] ~= '' and entry[2][8] or nil end

-- Memory that Redis needs for an entry apart from its text, as measured.
local ENTRY_BYTES = 60

-- The bytes of the log from an entry on. An entry stores how many bytes were written before it, so a trim subtracts
-- nothing. Entries of older versions lack the field, and precede all entries that have it.
local function bytes_from(entry, writtenBytes) return writtenBytes - tonumber(entry[2][6] or 0) end

local function log_bytes()
  local first = redis.call('XRANGE', LOG, '-', '+', 'COUNT', 1)[1]
  return first and bytes_from(first, last_number('logBytes')) or 0
end

local TRIMMED_AT_ONCE = 1000

-- lastSeq, writtenBytes: nil to read them from META.
local function trim_log(lastSeq, writtenBytes)
  lastSeq = lastSeq or last_number('seq')
  writtenBytes = writtenBytes or last_number('logBytes')
  local goneCount, goneSeq, from, atOnce = 0, nil, '-', 1
  local function fits(entry)
    return lastSeq - number_of(entry) < timing.logCount and bytes_from(entry, writtenBytes) <= timing.logBytes
      and steadyMs - written_ms(entry) < timing.logAgeMs
  end
  local isDone = false
  while not isDone and goneCount < TRIMMED_AT_ONCE do
    -- Read one entry first: usually it still fits, and nothing is to be trimmed.
    local oldest = redis.call('XRANGE', LOG, from, '+', 'COUNT', atOnce)
    isDone = #oldest < atOnce
    for _, entry in ipairs(oldest) do
      if fits(entry) then
        isDone = true
        break
      end
      goneCount = goneCount + 1
      goneSeq = number_of(entry)
      if trail_of(entry) then shorten_trail(trail_of(entry), goneSeq) end
    end
    if goneSeq then from = (goneSeq + 1) .. '-0' end
    atOnce = math.min(2 * atOnce, 50)
  end
  if goneSeq then redis.call('XTRIM', LOG, 'MINID', from) end
end

-- Appends one step of one user to the log. Returns the number and the text of the entry, and its element of the user's
-- trail, false if the entry is not on a trail.
local function append(user, before, after, changes)
  local seq = redis.call('HINCRBY', META, 'seq', 1)
  local isOnTrail = are_many(before.lists) or are_many(after.lists) or is_on_trail(user)
  local values, element = { seq, date(user), before.public, false, after.public, false }, false
  if isOnTrail then
    element, values[7] = extend_trail(user, seq, before.lists, changes)
  else
    values[4] = before.public[4] and union_of(before.lists) or {}
    values[6] = after.public[4] and union_of(after.lists) or {}
  end
  local entry = cjson.encode(values)
  local bytes = #entry + (element and #element or 0) + ENTRY_BYTES
  local writtenBytes = redis.call('HINCRBY', META, 'logBytes', bytes)
  redis.call('XADD', LOG, seq .. '-0', 'steadyMs', steadyMs, 'entry', entry, 'bytesBefore', writtenBytes - bytes,
    'trail', isOnTrail and user.id or '')
  trim_log(seq, writtenBytes)
  return seq, entry, element
end

local function list(user, before, after, changes)
  local isShown, wasShown = after.public[4], before.public[4]
  if isShown and not wasShown then
    redis.call('ZREM', UNLISTED, user.id)
    redis.call('ZADD', ONLINE, 0, user.id)
  elseif wasShown and not isShown then
    redis.call('ZREM', ONLINE, user.id)
    redis.call('ZADD', UNLISTED, 0, user.id)
  end
  local left, entered = {}, {}
  if isShown and wasShown then
    if changes then left, entered = changes.removed, changes.added end
  elseif isShown then
    entered = union_of(after.lists)
  elseif wasShown then
    left = union_of(before.lists)
  end
  for _, room in ipairs(left) do redis.call('ZREM', room_key(room), user.id) end
  for _, room in ipairs(entered) do redis.call('ZADD', room_key(room), 0, user.id) end
end

-- finish: { atMs, reason } of a session that ended, false if it is live. The row is RowAnswer of answers.ts.
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

-- Records contain rooms, so those kept while the database is unreachable are bounded in bytes as well as in number.
local function trim_records(writtenBytes)
  for _ = 1, 100 do
    local first = redis.call('XRANGE', RECORDS, '-', '+', 'COUNT', 1)[1]
    if not first then return end
    -- Records of older versions lack the field. While one is the oldest, this bound does not apply.
    local bytes = writtenBytes - (tonumber(first[2][4]) or writtenBytes)
    if bytes <= limits.recordBytes then return end
    redis.call('XTRIM', RECORDS, 'MINID', (number_of(first) + 1) .. '-0')
  end
end

local function record(user, touched)
  local rows = {}
  -- The adoption may give the session another row, so it has none until then. The recorder begins a new epoch with a
  -- snapshot after the adoption, which contains it.
  local function has_row(session) return meta.isAdopted or not session.mayTakeRow end
  for _, touch in ipairs(touched) do
    if has_row(touch.session) or touch.finish then
      touch.session.hasUnrecordedActivity = false
      rows[#rows + 1] = session_row(touch.session, touch.finish)
    end
  end
  for _, session in ipairs(user.sessions) do
    if session.hasUnrecordedActivity and has_row(session) then
      session.hasUnrecordedActivity = false
      rows[#rows + 1] = session_row(session, false)
    end
  end
  user.activityFlushSteadyMs = false
  user.isRecorded = true
  local seq = redis.call('HINCRBY', META, 'recordSeq', 1)
  local text = record_of(user, rows)
  local bytes = #text + ENTRY_BYTES
  local writtenBytes = redis.call('HINCRBY', META, 'recordBytes', bytes)
  redis.call('XADD', RECORDS, 'MAXLEN', limits.recordsKept, seq .. '-0', 'record', text,
    'bytesBefore', writtenBytes - bytes)
  -- With shorter records, recordsKept is reached before recordBytes.
  if bytes > limits.recordBytes / limits.recordsKept then trim_records(writtenBytes) end
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
  -- A deadline that moved later stays where it is in DUE, so a heartbeat moves nothing; the sweep corrects it.
  elseif not user.dueSteadyMs or dueSteadyMs < user.dueSteadyMs or user.dueSteadyMs <= steadyMs then
    redis.call('ZADD', DUE, dueSteadyMs, user.id)
    user.dueSteadyMs = dueSteadyMs
  end
end

-- Rule 9: a new lastActive alone is no change.
local function is_same(before, after, changes)
  for index = 2, 7 do if before.public[index] ~= after.public[index] then return false end end
  return not (changes and after.public[4])
end

-- Publishes a message to all nodes. Its number lets a node detect a lost message.
local function ring(message)
  message.bell = redis.call('HINCRBY', META, 'bell', 1)
  message.epoch = meta.epoch
  redis.call('PUBLISH', BELL, cjson.encode(message))
end

-- lastSeenAfterLeaving of src/presence/rules.ts.
-- isLeave: whether everyone saw the user online until this step.
local function last_seen_after_leaving(user, isLeave)
  if not user.shownLastActiveAtMs then return false end
  if isLeave then return date(user) end
  local knownMs = user.shownLastSeenAtMs
  return knownMs and knownMs >= user.shownSinceMs and knownMs or user.shownLastActiveAtMs
end

-- Must be called once after each `remember`.
-- step: { touched = { { session, finish } } (rows that changed), isViewerChanged, mustRecord, lostBy = { ids of nodes
-- to notify at once of sessions that their sockets lost }, isOneOfMany (the script rings once for all records) }
-- Returns the number of a record that the script has to ring for; nil if there is none.
local function commit(user, step)
  local before, touched = user.before, step.touched or {}
  local ownStatus = status_of(user)
  user.shownStatus = is_visible(user) and ownStatus or 'OFFLINE'
  if user.shownStatus ~= 'OFFLINE' then
    user.shownLastSeenAtMs = false
  elseif user.shownSinceMs then
    user.shownLastSeenAtMs = last_seen_after_leaving(user, before.public[4])
  end
  user.shownSinceMs = user.shownStatus ~= 'OFFLINE' and (user.shownSinceMs or date(user)) or false
  local after = { public = public_of(user), lists = lists_of(user) }
  local changes = room_changes(before.lists, after.lists)
  local isChanged = not is_same(before, after, changes)
  if isChanged then list(user, before, after, changes) end

  local isOwnStatusFlipped = ownStatus ~= user.ownStatus
  user.ownStatus = ownStatus
  if ownStatus == 'OFFLINE' then user.inheritedSinceMs = false end

  local columns = columns_of(user)
  local was = before.columns
  local areColumnsChanged = (columns and not was) or (was and not columns)
    or (columns and (columns[1] ~= was[1] or columns[2] ~= was[2] or columns[4] ~= was[4]
      or (not columns[3]) ~= (not was[3])))
  local message = {}
  if step.mustRecord or #touched > 0 or areColumnsChanged then message.record = record(user, touched) end

  schedule(user)
  -- While reads wait for announcements no subscriber has a position in the log; they read all users afterwards.
  if isChanged and not meta.isAnnouncing and (before.public[4] or after.public[4]) then
    local element
    message.seq, message.entry, element = append(user, before, after, changes)
    -- A node that needs a longer element reads it from the trail.
    message.rooms = element and #element <= limits.messageRoomBytes and element or nil
  else
    defer_changes(user, changes)
  end
  save(user)
  if step.isViewerChanged or isOwnStatusFlipped or isChanged then message.viewer = user.id end
  message.lostBy = step.lostBy
  local first, value = next(message)
  if step.isOneOfMany and first == 'record' and next(message, first) == nil then return value end
  if first then ring(message) end
  return nil
end
