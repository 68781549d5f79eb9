-- viewer: a user as only that user sees it.
-- Keep in step with src/stores/memory/live-user.ts (`viewerState`).
-- KEYS[1]  the root
-- ARGV[1]  the epoch that the node believes in
-- ARGV[2]  JSON: { user id }
-- Returns  JSON: false if the user is not in the store, 'pending' while the settings are not known, else
--          { public user, own status, { statusChoice, statusMessage, visibility, hideLastActive }, lastActiveAtMs,
--          { sessions... } }
local refusal = refuse_reader(ARGV[1])
if refusal then return refusal end
local user = load(cjson.decode(ARGV[2])[1])
if not user then return 'false' end
if not are_settings_known(user) then return '"pending"' end
local sessions = {}
for index, session in ipairs(user.sessions) do sessions[index] = session_view(session) end
return cjson.encode({
  public_answer(user), user.ownStatus, { user.statusChoice, user.statusMessage, user.visibility, user.hideLastActive },
  user.lastActiveAtMs, sessions,
})
