-- read-changes: the entries of the change log after a number.
-- KEYS[1]  the root
-- ARGV[1]  the epoch that the node believes in
-- ARGV[2]  JSON: { number, most entries to return }
-- Returns  { the newest number, 1 if the log holds every entry after the number, else 0, { entries as JSON... },
--          { { user, JSON: { rooms, { rooms added }, { rooms removed } }, elements of the trail, newest first... }... }
--          }: the last part has, for each user whose entries name no rooms, the current rooms, the changes since the
--          last entry, and the trail from the user's first entry in this answer on
local refusal = refuse_reader(ARGV[1])
if refusal then return refusal end
local after, limit = unpack(cjson.decode(ARGV[2]))
local lastSeq = last_number('seq')
trim_log()
if not reaches(LOG, after, lastSeq) then return { lastSeq, 0, {}, {} } end

-- limits.answerBytes bounds the answer, and so the work.
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
