-- stats: counts for an operator. Redis keeps them all, so nothing is scanned.
-- KEYS[1]  the root
-- ARGV[1]  the epoch that the node believes in
-- Returns  { live nodes, users online, sessions, entries of the log, their bytes, pending records }
local refusal = refuse_reader(ARGV[1])
if refusal then return refusal end
return {
  redis.call('ZCOUNT', NODES, '(' .. steadyMs, '+inf'), redis.call('ZCARD', ONLINE),
  tonumber(redis.call('HGET', META, 'sessionCount') or 0), redis.call('XLEN', LOG), log_bytes(),
  redis.call('XLEN', RECORDS),
}
