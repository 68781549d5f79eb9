-- read-records: what the database has to learn after a number.
-- KEYS[1]  the root
-- ARGV[1]  the epoch that the node believes in
-- ARGV[2]  JSON: { number, at most so many records }
-- Returns  { the newest number, 1 where some were lost, else 0, number and JSON of each record... }
local refusal = refuse_recorder(ARGV[1])
if refusal then return refusal end
local after, limit = unpack(cjson.decode(ARGV[2]))
local lastSeq = last_number('recordSeq')
local answer = { lastSeq, reaches(RECORDS, after, lastSeq) and 0 or 1 }
for _, entry in ipairs(redis.call('XRANGE', RECORDS, (after + 1) .. '-0', '+', 'COUNT', limit)) do
  answer[#answer + 1] = number_of(entry)
  answer[#answer + 1] = entry[2][2]
end
return answer
