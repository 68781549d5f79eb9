-- detach: removes the socket from its session, which stays live for its grace (rule 5). An old fence does nothing,
-- except the one that was reaped from the session.
-- Keep in step with src/stores/memory/index.ts (`detach`).
-- KEYS[1]  the root
-- ARGV[1]  the epoch that the node believes in
-- ARGV[2]  JSON: userId, sessionId, fence; graceMs, 0 or less to end the session in this step; reason: the end reason
--          if the grace passes; isAttachUncertain: whether the attach of this fence may still be under way
-- Returns  'done'
local refusal = refuse_stranger(ARGV[1])
if refusal then return refusal end
local request = cjson.decode(ARGV[2])
-- An attach that arrives after its detach would leave a session with a socket that is gone.
if request.isAttachUncertain then
  redis.call('SET', refused_key(request.fence), '1', 'PX', limits.refusedForMs)
end
local user = load_to_change(request.userId)
local session = user and session_of(user, request.sessionId)
if not session or (session.fence or session.reapedFence) ~= request.fence then return 'done' end
give_grace(user, session, request.graceMs, request.reason)
return 'done'
