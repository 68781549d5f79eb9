-- position: how far the log and the bell have come.
-- KEYS[1]  the root
-- ARGV[1]  the epoch that the node believes in
-- Returns  { the newest number of the log, that of the bell }
local refusal = refuse_reader(ARGV[1])
if refusal then return refusal end
return { last_number('seq'), last_number('bell') }
