-- position: the newest numbers of the change log and of the bell channel.
-- KEYS[1]  the root
-- ARGV[1]  the epoch that the node believes in
-- Returns  { number of the last entry, number of the last message }
local refusal = refuse_reader(ARGV[1])
if refusal then return refusal end
return { last_number('seq'), last_number('bell') }
