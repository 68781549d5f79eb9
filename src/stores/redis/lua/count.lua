-- count: the number of users whom everyone sees online, in total or in a room.
-- KEYS[1]  the root
-- ARGV[1]  the epoch that the node believes in
-- ARGV[2]  JSON: { room or null }
-- Returns  the number
local refusal = refuse_reader(ARGV[1])
if refusal then return refusal end
local room = given(cjson.decode(ARGV[2])[1])
return redis.call('ZCARD', room and room_key(room) or ONLINE)
