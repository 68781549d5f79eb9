-- set-user: brings settings, a profile, or the row that an attach had to do without, to a live user.
-- KEYS[1]  the root
-- ARGV[1]  the epoch that the node believes in
-- ARGV[2]  the SetUserRequest of src/presence/store.ts as JSON
-- Returns  'done'
local refusal = refuse_stranger(ARGV[1])
if refusal then return refusal end
local request = cjson.decode(ARGV[2])
local settings, profile, seed = given(request.settings), given(request.profile), given(request.seed)
local user = load_to_change(request.userId)
if not user then
  if not settings then return 'done' end
  local ahead = redis.call('GET', ahead_key(request.userId))
  if ahead and settings.version <= cjson.decode(ahead).version then return 'done' end
  redis.call('SET', ahead_key(request.userId), cjson.encode(settings), 'PX', limits.seedMemoryMs)
  return 'done'
end

local isSeedNew = seed and take_seed(user, seed)
-- The newest at once: what an older version shows must not come in between.
local newest, seedSettings = settings, seed and given(seed.settings)
if seedSettings and (not newest or seedSettings.version > newest.version) then newest = seedSettings end
local areSettingsNew = take_settings(user, newest)
local isProfileNew = profile and take_profile(user, profile)
if isSeedNew or areSettingsNew or isProfileNew then commit(user, { isViewerChanged = true, mustRecord = true }) end
return 'done'
