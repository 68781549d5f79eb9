-- snapshot: a page of the states of all users in the store, as records, ordered by the bytes of the id.
-- Keep in step with src/stores/memory/population.ts (`records.snapshot`).
-- KEYS[1]  the root
-- ARGV[1]  the epoch that the node believes in
-- ARGV[2]  JSON: { the id after which to continue, or null, most users to return }
-- Returns  { the number of the newest record, records as JSON... }
local refusal = refuse_recorder(ARGV[1])
if refusal then return refusal end
local after, limit = unpack(cjson.decode(ARGV[2]))
local from = given(after) and '(' .. after or '-'
-- The operator < of Lua compares strings by the locale.
local function is_before(one, other)
  for index = 1, math.min(#one, #other) do
    local oneByte, otherByte = string.byte(one, index), string.byte(other, index)
    if oneByte ~= otherByte then return oneByte < otherByte end
  end
  return #one < #other
end

-- No user is in both sets.
local listed = redis.call('ZRANGEBYLEX', ONLINE, from, '+', 'LIMIT', 0, limit)
local unlisted = redis.call('ZRANGEBYLEX', UNLISTED, from, '+', 'LIMIT', 0, limit)
local userIds, l, u = {}, 1, 1
while #userIds < limit and (listed[l] or unlisted[u]) do
  if listed[l] and (not unlisted[u] or is_before(listed[l], unlisted[u])) then
    userIds[#userIds + 1] = listed[l]
    l = l + 1
  else
    userIds[#userIds + 1] = unlisted[u]
    u = u + 1
  end
end
local answer, bytes = { last_number('recordSeq') }, 0
for _, userId in ipairs(userIds) do
  if bytes >= limits.answerBytes then break end
  local user = load(userId)
  local rows = {}
  for position, session in ipairs(user.sessions) do rows[position] = session_row(session, false) end
  answer[#answer + 1] = record_of(user, rows)
  bytes = bytes + #answer[#answer]
end
return answer
