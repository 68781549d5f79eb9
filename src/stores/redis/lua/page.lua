-- page: the users whom everyone sees online, ordered by the bytes of the id.
-- KEYS[1]  the root
-- ARGV[1]  the epoch that the node believes in
-- ARGV[2]  the PageRequest of src/presence/store.ts as JSON
-- Returns  JSON: { { public users... }, whether there are more, total count, { epoch, seq } }
local refusal = refuse_reader(ARGV[1])
if refusal then return refusal end
local request = cjson.decode(ARGV[2])
local key = given(request.room) and room_key(request.room) or ONLINE
local from = given(request.after) and '(' .. request.after or '-'
local userIds = redis.call('ZRANGEBYLEX', key, from, '+', 'LIMIT', 0, request.first + 1)
local users = {}
for index = 1, math.min(#userIds, request.first) do users[index] = public_of(load(userIds[index])) end
return cjson.encode({ users, #userIds > request.first, redis.call('ZCARD', key), { meta.epoch, last_number('seq') } })
