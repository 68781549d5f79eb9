-- announced: marks that a node has attached all of its sessions to the epoch.
-- KEYS[1]  the root
-- ARGV[1]  the epoch that the node believes in
-- ARGV[2]  the id of the process among those that announce, as in join-epoch
-- Returns  'done'
local refusal = refuse_stranger(ARGV[1])
if refusal then return refusal end
redis.call('SREM', ANNOUNCING, ARGV[2])
return 'done'
