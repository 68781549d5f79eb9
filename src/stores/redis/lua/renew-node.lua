-- renew-node: extends a node's lease by NODE_TTL, and returns the news for it.
-- Keep in step with src/stores/memory/index.ts (`renewNode`) and src/stores/memory/nodes.ts.
-- KEYS[1]  the root
-- ARGV[1]  the epoch that the node believes in
-- ARGV[2]  the RenewRequest of src/presence/store.ts as JSON
-- Returns  JSON: { { { fence, cause }... } lost since then, lossCount, { { userId, issuedUpToMs }... },
--          dismissalCount, whether dismissals were missed, whether this node must adopt,
--          whether reads still wait for announcements, seq, bell }
local refusal = refuse_stranger(ARGV[1])
if refusal then return refusal end
local request = cjson.decode(ARGV[2])
local nodeId = request.nodeId
renew_node(nodeId)

local losses = {}
local lossCount = tonumber(redis.call('GET', loss_count_key(nodeId)) or 0)
keep_losses(nodeId)
-- If the count is lower than the node saw, the log was reset.
local unseenCount = lossCount - request.seenLossCount
if unseenCount < 0 then unseenCount = lossCount end
if unseenCount == 0 then
  redis.call('DEL', losses_key(nodeId))
else
  redis.call('LTRIM', losses_key(nodeId), -unseenCount, -1)
  -- The next renewal returns the others.
  for index, loss in ipairs(redis.call('LRANGE', losses_key(nodeId), 0, limits.lossesAtOnce - 1)) do
    losses[index] = cjson.decode(loss)
  end
  lossCount = lossCount - unseenCount + #losses
end

local isReturning = request.isReturning
for _, loss in ipairs(losses) do isReturning = isReturning or loss[2] == 'reaped' end
if isReturning then redis.call('ZADD', RETURNING, steadyMs, nodeId) else redis.call('ZREM', RETURNING, nodeId) end

local dismissals, isMissed = {}, false
local dismissalCount = tonumber(redis.call('HGET', META, 'dismissedCount') or 0)
local seenCount = given(request.seenDismissalCount) or dismissalCount
if seenCount > dismissalCount then
  isMissed = true
elseif seenCount < dismissalCount then
  local found = redis.call('XRANGE', DISMISSED, (seenCount + 1) .. '-0', '+')
  isMissed = #found < dismissalCount - seenCount
  for index, entry in ipairs(found) do dismissals[index] = { entry[2][2], tonumber(entry[2][4]) } end
end

-- One node adopts the open sessions of the database. If its lease passed, another node takes over.
local mustAdopt = false
if not meta.isAdopted then
  local adopter = redis.call('HGET', META, 'adopter')
  local adopterLease = adopter and tonumber(redis.call('ZSCORE', NODES, adopter) or 0)
  mustAdopt = adopter == nodeId or not adopter or adopterLease <= steadyMs
  if mustAdopt then redis.call('HSET', META, 'adopter', nodeId) end
end
local counts = redis.call('HMGET', META, 'seq', 'bell')
return cjson.encode({
  losses, lossCount, dismissals, dismissalCount, isMissed, mustAdopt, meta.isAnnouncing,
  tonumber(counts[1] or 0), tonumber(counts[2] or 0),
})
