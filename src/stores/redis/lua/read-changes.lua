-- read-changes: what the log has after a number.
-- KEYS[1]  the root
-- ARGV[1]  the epoch that the node believes in
-- ARGV[2]  JSON: { number, at most so many entries }
-- Returns  { the newest number, 1 where the log holds everything after the number, else 0, { entries as JSON... },
--          { { user, JSON: { rooms, { rooms added }, { rooms removed } }, elements of the trail, newest first... }... } }:
--          of each user whose entries name no rooms, the rooms of now, what changed since their last entry, and the
--          trail from their first entry here on
local refusal = refuse_reader(ARGV[1])
if refusal then return refusal end
local after, limit = unpack(cjson.decode(ARGV[2]))
local lastSeq = last_number('seq')
trim_log()
if not reaches(LOG, after, lastSeq) then return { lastSeq, 0, {}, {} } end

-- An answer has a bound, and so has the work for it.
local entries, trails, isAdded, bytes = {}, {}, {}, 0

local function add_trail(userId, seq)
  isAdded[userId] = true
  local user = load(userId)
  local deferred = deferred_of(userId)
  local rooms = user and union_of(lists_of(user)) or {}
  local trail = trail_from(userId, seq)
  table.insert(trail, 1, cjson.encode({ rooms, deferred.added, deferred.removed }))
  table.insert(trail, 1, userId)
  for _, text in ipairs(trail) do bytes = bytes + #text end
  trails[#trails + 1] = trail
end

local from = after + 1
while #entries < limit and bytes < limits.answerBytes do
  local found = redis.call('XRANGE', LOG, from .. '-0', '+', 'COUNT', math.min(100, limit - #entries))
  if #found == 0 then break end
  for _, entry in ipairs(found) do
    if bytes >= limits.answerBytes then break end
    bytes = bytes + #text_of(entry)
    entries[#entries + 1] = text_of(entry)
    local userId = trail_of(entry)
    if userId and not isAdded[userId] then add_trail(userId, number_of(entry)) end
  end
  from = number_of(found[#found]) + 1
end
return { lastSeq, 1, entries, trails }
