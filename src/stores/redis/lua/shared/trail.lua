-- The rooms of users who are in many rooms. A log entry of such a user names only the rooms that changed, so its size
-- does not depend on the number of rooms. The rooms at an entry are the current rooms with every later change undone.
--
-- The trail of a user is a list with one element per entry, as JSON: { seq, { rooms added }, { rooms removed } }. The
-- log and the trail are trimmed together. Once a user has a trail, each entry of the user extends it until it is empty.
-- Changes while the user is hidden make no entry (rule 8): they are deferred to the next entry.
--
-- The memory store needs none of this: its entries share sets of rooms (src/presence/room-set.ts).

local function seq_of(element) return tonumber(string.match(element, '%d+')) end

local function has_trail(userId) return redis.call('EXISTS', trail_key(userId)) == 1 end

-- has_trail, cached in the user's value: most users never have a trail.
local function is_on_trail(user)
  user.mayHaveTrail = user.mayHaveTrail and has_trail(user.id)
  return user.mayHaveTrail
end

-- Longer than the log keeps an entry, even if its steady clock stands still for a while.
local TRAIL_TTL_MS = math.max(2 * timing.logAgeMs, 3600000)

-- Trails of a lost epoch are never read again, so they expire.
local function expire_trail_later(userId)
  redis.call('PEXPIRE', trail_key(userId), TRAIL_TTL_MS)
  redis.call('PEXPIRE', deferred_key(userId), TRAIL_TTL_MS)
end

-- Whether there are too many rooms for an entry to name them all. The cost is bounded, whatever the number of rooms.
local function are_many(lists)
  local bytes = 0
  for session, list in pairs(lists) do
    if list == session then return true end
    for _, room in ipairs(list) do
      bytes = bytes + #room
      if bytes > limits.listedRoomBytes then return true end
    end
  end
  return false
end

local function are_none(lists)
  for session, list in pairs(lists) do if list == session or #list > 0 then return false end end
  return true
end

local function keys_of(set)
  local keys = {}
  for key in pairs(set) do keys[#keys + 1] = key end
  return keys
end

-- Whether a session may be in one of a few rooms; true may be wrong, false never is. Searching the packed text costs a
-- tenth of unpacking it.
local FEW_ROOMS = 4
local function may_be_in(session, list, rooms)
  if list ~= session or session.knownRooms or #rooms > FEW_ROOMS then return true end
  local packed = redis.call('HGET', rooms_key(session.userId), session.id)
  for _, room in ipairs(rooms) do if string.find(packed, room, 1, true) then return true end end
  return false
end

-- What a step changed in the union of the rooms of all sessions: { added, removed }, nil if nothing changed. It reads
-- the rooms of the sessions that changed, and those of the other sessions only if there may be a change.
local function room_changes(before, after)
  local added, removed = {}, {}
  for session, list in pairs(after) do
    if before[session] ~= list then for _, room in ipairs(rooms_in(session, list)) do added[room] = true end end
  end
  for session, list in pairs(before) do
    if after[session] ~= list then for _, room in ipairs(rooms_in(session, list)) do removed[room] = true end end
  end
  for room in pairs(added) do if removed[room] then added[room], removed[room] = nil, nil end end
  local asked = keys_of(added)
  for room in pairs(removed) do asked[#asked + 1] = room end
  if #asked == 0 then return nil end
  for session, list in pairs(after) do
    if before[session] == list and may_be_in(session, list, asked) then
      for _, room in ipairs(rooms_in(session, list)) do
        if added[room] then added[room] = nil end
        if removed[room] then removed[room] = nil end
      end
    end
  end
  if not next(added) and not next(removed) then return nil end
  return { added = keys_of(added), removed = keys_of(removed) }
end

-- Stores the changes of a step that made no entry. A change and its reverse cancel out, so the hash never has more
-- rooms than the user had before and has now together.
local function defer_changes(user, changes)
  if not changes or not is_on_trail(user) then return end
  local key = deferred_key(user.id)
  for _, room in ipairs(changes.added) do
    if redis.call('HDEL', key, room) == 0 then redis.call('HSET', key, room, '+') end
  end
  for _, room in ipairs(changes.removed) do
    if redis.call('HDEL', key, room) == 0 then redis.call('HSET', key, room, '-') end
  end
  expire_trail_later(user.id)
end

-- Returns the deferred { added, removed } since the user's last entry.
local function deferred_of(userId)
  local values = redis.call('HGETALL', deferred_key(userId))
  local added, removed = {}, {}
  for index = 1, #values, 2 do
    local list = values[index + 1] == '+' and added or removed
    list[#list + 1] = values[index]
  end
  return { added = added, removed = removed }
end

-- Returns the trail element of an entry, and its base: the number of the user's entry whose rooms the element changes;
-- 0 if the user was in no room, false if no entry of the trail has them.
local function extend_trail(user, seq, before, changes)
  local userId = user.id
  user.mayHaveTrail = true
  local last = redis.call('LINDEX', trail_key(userId), -1)
  local baseSeq = last and seq_of(last)
  if last and redis.call('EXISTS', deferred_key(userId)) == 1 then
    defer_changes(user, changes)
    changes = deferred_of(userId)
  elseif are_none(before) then
    baseSeq = 0
  end
  redis.call('DEL', deferred_key(userId))
  local element = cjson.encode({ seq, changes and changes.added or {}, changes and changes.removed or {} })
  redis.call('RPUSH', trail_key(userId), element)
  expire_trail_later(userId)
  return element, baseSeq
end

-- Removes the element of an entry that was trimmed from the log.
local function shorten_trail(userId, seq)
  local first = redis.call('LINDEX', trail_key(userId), 0)
  if not first or seq_of(first) > seq then return end
  redis.call('LPOP', trail_key(userId))
  if not has_trail(userId) then redis.call('DEL', deferred_key(userId)) end
end

-- Returns the elements of an entry and of all later entries, newest first.
local function trail_from(userId, seq)
  local elements, last, atOnce = {}, -1, 50
  while true do
    local found = redis.call('LRANGE', trail_key(userId), last - atOnce + 1, last)
    for index = #found, 1, -1 do
      if seq_of(found[index]) < seq then return elements end
      elements[#elements + 1] = found[index]
    end
    if #found < atOnce then return elements end
    last = last - atOnce
  end
end
