-- set-user: applies settings, a profile, or a row that was read after the attach, to a user in the store.
-- Keep in step with src/stores/memory/index.ts (`setUser`) and src/stores/memory/population.ts (`remember`).
-- KEYS[1]  the root
-- ARGV[1]  the epoch that the node believes in
-- ARGV[2]  the SetUserRequest of src/presence/store.ts as JSON
-- Returns  JSON: the settings that the store uses now; false if it has none
local refusal = refuse_stranger(ARGV[1])
if refusal then return refusal end
local request = cjson.decode(ARGV[2])
local settings, profile, seed = given(request.settings), given(request.profile), given(request.seed)
local user = load_to_change(request.userId)
if not user then
  local ahead = redis.call('GET', ahead_key(request.userId))
  ahead = ahead and cjson.decode(ahead)
  local newer = newer_settings(ahead, settings)
  if newer ~= ahead then
    redis.call('SET', ahead_key(request.userId), cjson.encode(newer), 'PX', limits.seedMemoryMs)
  end
  return cjson.encode(newer)
end

local isSeedNew = seed and take_seed(user, seed)
-- Merge both first: applying the older version in between would show it to others.
local areSettingsNew = take_settings(user, newer_settings(settings, seed and given(seed.settings)), seed)
local isProfileNew = profile and take_profile(user, profile)
if isSeedNew or areSettingsNew or isProfileNew then commit(user, { isViewerChanged = true, mustRecord = true }) end
return cjson.encode(settings_of(user))
