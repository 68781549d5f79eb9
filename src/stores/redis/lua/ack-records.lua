-- ack-records: removes records that are in the database, and then the users who have neither sessions nor pending
-- records.
-- Keep in step with src/stores/memory/population.ts (`records.ack`).
-- KEYS[1]  the root
-- ARGV[1]  the epoch that the node believes in
-- ARGV[2]  JSON: { number of the last record in the database, most users to remove }
-- Returns  1 if more users are to be removed, else 0
read_meta()
if meta.epoch ~= ARGV[1] then return other_epoch() end
-- No refuse_stranger: this script frees memory, so it must make no write that a full Redis refuses.
local seq, limit = unpack(cjson.decode(ARGV[2]))
redis.call('XTRIM', RECORDS, 'MINID', (seq + 1) .. '-0')
local forgotten = redis.call('HGETALL', FORGOTTEN)
for index = 1, #forgotten, 2 do
  if tonumber(forgotten[index + 1]) <= seq then redis.call('HDEL', FORGOTTEN, forgotten[index]) end
end
local leaving = redis.call('ZRANGEBYSCORE', DEPARTING, '-inf', seq, 'LIMIT', 0, limit)
for _, userId in ipairs(leaving) do
  redis.call('DEL', user_key(userId), rooms_key(userId))
  redis.call('ZREM', DEPARTING, userId)
  redis.call('ZREM', UNLISTED, userId)
  redis.call('ZREM', DUE, userId)
end
return #leaving == limit and 1 or 0
