-- join-epoch: a node calls it before all other scripts on a connection. If the store has no epoch, or that of another
-- server (the state was lost, or may have been), the script opens a new one.
-- KEYS[1]  the root
-- ARGV[1]  the server's run_id, as read on this connection
-- ARGV[2]  the name for a new epoch, 16 hexadecimal digits
-- ARGV[3]  the id of the process among those that announce, as in announced
-- ARGV[4]  the epoch that the node believes in, '' at first
-- ARGV[5]  the id of the node's database
-- Returns  { the epoch, 1 while reads wait for announcements, else 0 }; an error if the state belongs to another
--          database
read_meta()
-- The state keeps the id of its database across epochs. The state of an older version has none.
local databaseId = redis.call('HGET', META, 'databaseId')
if databaseId and databaseId ~= ARGV[5] then
  return redis.error_reply('DATABASE The live state is of another database.')
end
if not databaseId then redis.call('HSET', META, 'databaseId', ARGV[5]) end
local isNew = not meta.epoch or redis.call('HGET', META, 'runId') ~= ARGV[1]
if isNew then
  if meta.epoch and keep_steady() then keep_jump() end
  -- The new epoch inherits the state that is left. The nodes announce all of their sessions again; the others get their
  -- grace when announcements are over. The state may be an older copy, so no user is in a list before their settings
  -- are confirmed. RENAME costs the same with a million users; `adopt` handles them a page at a time.
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
