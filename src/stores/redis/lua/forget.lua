-- forget: removes a user and all of their data from the store.
-- Keep in step with src/stores/memory/index.ts (`forget`).
-- KEYS[1]  the root
-- ARGV[1]  the epoch that the node believes in
-- ARGV[2]  the ForgetRequest of src/presence/store.ts as JSON
-- Returns  the number of sessions that ended
local refusal = refuse_stranger(ARGV[1])
if refusal then return refusal end
local request = cjson.decode(ARGV[2])
local userId = request.userId
dismiss(userId, request.tokensIssuedUpToMs)

local user = load_to_change(userId)
local sessionCount = user and #user.sessions or 0
if user then
  for index = sessionCount, 1, -1 do end_session(user, user.sessions[index], 'DISCONNECTED') end
  commit(user, { isViewerChanged = true })
end
redis.call('DEL', user_key(userId), rooms_key(userId), deferred_key(userId), ahead_key(userId))
for _, key in ipairs({ UNLISTED, DUE, DEPARTING }) do redis.call('ZREM', key, userId) end
for _, key in ipairs(redis.call('LRANGE', INHERITED, 0, -1)) do redis.call('ZREM', key, userId) end
-- Entries of the log refer to the trail. They are past their age by then.
redis.call('PEXPIRE', trail_key(userId), timing.logAgeMs)
redis.call('HSET', FORGOTTEN, userId, last_number('recordSeq'))
return sessionCount
