-- inherited: users of an earlier epoch who have not been adopted yet.
-- KEYS[1]  the root
-- ARGV[1]  the epoch that the node believes in
-- ARGV[2]  most users to return
-- Returns  JSON: { { user id, { startId... } }... }
local refusal = refuse_stranger(ARGV[1])
if refusal then return refusal end
local users, limit = {}, tonumber(ARGV[2])
while #users == 0 do
  local key = redis.call('LINDEX', INHERITED, 0)
  if not key then break end
  local userIds = redis.call('ZRANGE', key, 0, limit - 1)
  if #userIds == 0 then redis.call('LPOP', INHERITED) end
  for _, userId in ipairs(userIds) do
    local user = load(userId)
    if user then
      local startIds = {}
      for index, session in ipairs(user.sessions) do startIds[index] = session.startId end
      users[#users + 1] = { userId, startIds }
    else
      -- The user left the store when their last record was acknowledged.
      redis.call('ZREM', key, userId)
    end
  end
end
return cjson.encode(users)
