-- lookup: what everyone sees of some users, who may be absent from the store.
-- KEYS[1]  the root
-- ARGV[1]  the epoch that the node believes in
-- ARGV[2]  JSON: the user ids
-- Returns  JSON: a public user per id; false if the user is not in the store, or not confirmed in this epoch
local refusal = refuse_reader(ARGV[1])
if refusal then return refusal end
local users = {}
for index, userId in ipairs(cjson.decode(ARGV[2])) do
  local user = load(userId)
  users[index] = user and not user.isUnconfirmed and public_answer(user) or false
end
return cjson.encode(users)
