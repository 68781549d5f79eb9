-- adopted: marks the adoption as complete: all open sessions of the database are in the store.
-- KEYS[1]  the root
-- ARGV[1]  the epoch that the node believes in
-- Returns  'done'
local refusal = refuse_stranger(ARGV[1])
if refusal then return refusal end
redis.call('HSET', META, 'isAdopted', 1)
return 'done'
