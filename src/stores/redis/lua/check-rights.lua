-- check-rights: which rights of those that the scripts need the node's user lacks. A script that is refused half-way
-- would leave half of a step, so this comes before the first.
-- KEYS[1]  the root
-- ARGV[1]  not used
-- Returns  { each as `the command …`, `the keys …` or `the channel …` }; nothing before Redis 7, which cannot say it
local may = redis.acl_check_cmd
if not may then return {} end
local key, channel = KEYS[1] .. ':meta', KEYS[1] .. ':bell'

-- As in a call, with what it needs at least: without arguments Redis 7.0 ends itself, and not only the question.
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
