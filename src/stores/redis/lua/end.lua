-- end: ends one session, or all sessions of a user, at once.
-- Keep in step with src/stores/memory/index.ts (`end`).
-- KEYS[1]  the root
-- ARGV[1]  the epoch that the node believes in
-- ARGV[2]  the EndRequest of src/presence/store.ts as JSON
-- Returns  JSON: { 'ended', number of sessions, { fences of their sockets } }; { 'late', 0, {} } wrote nothing
local refusal = refuse_stranger(ARGV[1])
if refusal then return refusal end
local request = cjson.decode(ARGV[2])

local issuedUpToMs = given(request.tokensIssuedUpToMs)
if issuedUpToMs then dismiss(request.userId, issuedUpToMs) end

-- The database may have a session open that no node has attached yet; without this mark it would be adopted.
if not meta.isAdopted then
  end_before_adoption(request.userId, given(request.sessionId) or '*', nowMs, request.reason)
end

local user = load_to_change(request.userId)
local fence, ending, fences, lostBy, touched = given(request.fence), {}, {}, {}, {}
if user then
  for _, session in ipairs(user.sessions) do
    if not given(request.sessionId) or session.id == request.sessionId then ending[#ending + 1] = session end
  end
end
if #ending == 0 then return cjson.encode({ 'ended', 0, {} }) end
for _, session in ipairs(ending) do
  if fence and session.fence ~= fence then return cjson.encode({ 'late', 0, {} }) end
  if session.fence then
    fences[#fences + 1] = session.fence
    lostBy[#lostBy + 1] = session.nodeId
  end
end
for index, session in ipairs(ending) do
  touched[index] = { session = session, finish = end_session(user, session, request.reason) }
end
if request.reason == 'WENT_OFFLINE' then user.wentOfflineAtMs = date(user) end
if request.reason == 'WENT_OFFLINE' and #user.sessions == 0 then end_activity(user) end
-- A dismissal notifies the nodes itself. If the socket ended its own session, its node learns that from the answer.
local isNews = not fence and #lostBy > 0 and not issuedUpToMs
commit(user, { touched = touched, isViewerChanged = true, lostBy = isNews and lostBy or nil })
return cjson.encode({ 'ended', #ending, fences })
