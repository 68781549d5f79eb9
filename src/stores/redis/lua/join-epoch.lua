-- join-epoch: what a node does before its first script on a connection. Where the store holds no epoch, or that of
-- another server (its state was lost, or may have been), it opens a new one.
-- KEYS[1]  the root
-- ARGV[1]  the server's run_id, as this connection has it
-- ARGV[2]  the name of an epoch to open, 16 hexadecimal digits
-- ARGV[3]  the node's id in that epoch
-- ARGV[4]  the epoch that the node believed in, '' at first
-- ARGV[5]  the id of the node's database
-- Returns  { the epoch, 1 while reads wait for announcements, else 0 }; an error where the state is of another database
read_meta()
-- The state names its database, whatever epoch it is in. That of a version before this one names none.
local databaseId = redis.call('HGET', META, 'databaseId')
if databaseId and databaseId ~= ARGV[5] then
  return redis.error_reply('DATABASE The live state is of another database.')
end
if not databaseId then redis.call('HSET', META, 'databaseId', ARGV[5]) end
local isNew = not meta.epoch or redis.call('HGET', META, 'runId') ~= ARGV[1]
if isNew then
  if meta.epoch and keep_steady() then keep_jump() end
  -- The state is inherited, as far as it is there: every session has to be announced again, and what hangs on the nodes
  -- of before falls to its grace when announcements are over. It may be an older copy, so nobody is in a list before
  -- their settings are confirmed. Renamed, which costs the same at a million users: `adopt` goes through them.
  for number, key in ipairs({ ONLINE, UNLISTED }) do
    if redis.call('EXISTS', key) == 1 then
      local inherited = INHERITED .. ':' .. ARGV[2] .. ':' .. number
      redis.call('RENAME', key, inherited)
      redis.call('RPUSH', INHERITED, inherited)
    end
  end
  redis.call('DEL', LOG, ANNOUNCING, DISMISSED)
  redis.call('HSET', META, 'epoch', ARGV[2], 'runId', ARGV[1], 'openedAtMs', steadyMs, 'isAnnouncing', 1, 'isAdopted', 0,
    'seq', 0, 'bell', 0, 'sweptAtMs', nowMs, 'reapedAtMs', steadyMs)
  redis.call('HDEL', META, 'adopter')
  for _, nodeId in ipairs(redis.call('ZRANGE', NODES, 0, -1)) do redis.call('ZADD', NODES, steadyMs, nodeId) end
  meta.epoch, meta.isAnnouncing = ARGV[2], true
end
if meta.isAnnouncing and meta.epoch ~= ARGV[4] then redis.call('SADD', ANNOUNCING, ARGV[3]) end
return { meta.epoch, meta.isAnnouncing and 1 or 0 }
