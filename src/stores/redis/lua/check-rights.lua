-- check-rights: lists the rights that the scripts need and the user of REDIS_URL lacks. A script that is refused
-- half-way leaves half of a step, so this script runs before all others.
-- KEYS[1]  the root
-- ARGV[1]  not used
-- Returns  { each as `the command …`, `the keys …` or `the channel …` }; {} before Redis 7, which cannot tell
local may = redis.acl_check_cmd
if not may then return {} end
local key, channel = KEYS[1] .. ':meta', KEYS[1] .. ':bell'

-- Passes the least arguments of a call: without arguments acl_check_cmd crashes the server of Redis 7.0.
local function may_call(name)
  if name == 'PUBLISH' then return may(name, channel, '') end
  return may(name, key, key, key, key)
end

local missing, isKeyAllowed = {}, false
for _, name in ipairs(COMMANDS) do
  if not may_call(name) then
    missing[#missing + 1] = '`' .. string.lower(name) .. '`'
  elseif name ~= 'PUBLISH' and name ~= 'TIME' then
    isKeyAllowed = true
  end
end
if not isKeyAllowed then return { 'the keys `' .. KEYS[1] .. '*`' } end
if #missing == 1 and missing[1] == '`publish`' then return { 'the command `publish` or the channel `' .. channel .. '`' } end
for index, name in ipairs(missing) do missing[index] = 'the command ' .. name end
return missing
