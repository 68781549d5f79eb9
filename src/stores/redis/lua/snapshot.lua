-- snapshot: the state of every user in the store as records, ordered by the bytes of the id.
-- KEYS[1]  the root
-- ARGV[1]  the epoch that the node believes in
-- ARGV[2]  JSON: { the id after which to go on or null, at most so many users }
-- Returns  { the number of the newest record, records as JSON... }
local refusal = refuse_reader(ARGV[1])
if refusal then return refusal end
if not meta.isAdopted then return redis.error_reply('ANNOUNCING The nodes announce their sessions.') end
local after, limit = unpack(cjson.decode(ARGV[2]))
local from = given(after) and '(' .. after or '-'
-- Nobody is in both. Redis orders them: Lua compares texts by the locale.
local merged = root .. ':merged'
for _, key in ipairs({ ONLINE, UNLISTED }) do
  for _, userId in ipairs(redis.call('ZRANGEBYLEX', key, from, '+', 'LIMIT', 0, limit)) do
    redis.call('ZADD', merged, 0, userId)
  end
end
local userIds = redis.call('ZRANGE', merged, 0, -1)
redis.call('DEL', merged)
local answer = { tonumber(redis.call('HGET', META, 'recordSeq') or 0) }
for index = 1, math.min(#userIds, limit) do
  local user = load(userIds[index])
  local rows = {}
  for position, session in ipairs(user.sessions) do rows[position] = session_row(session, false) end
  answer[#answer + 1] = record_of(user, rows)
end
return answer
