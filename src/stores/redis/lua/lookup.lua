-- lookup: what everyone sees of users, whom the store need not know.
-- KEYS[1]  the root
-- ARGV[1]  the epoch that the node believes in
-- ARGV[2]  JSON: the user ids
-- Returns  JSON: for each id its public user, false where the store does not know it, or by an epoch before only
local refusal = refuse_reader(ARGV[1])
if refusal then return refusal end
local users = {}
for index, userId in ipairs(cjson.decode(ARGV[2])) do
  local user = load(userId)
  users[index] = user and not user.isUnconfirmed and public_of(user) or false
end
return cjson.encode(users)
