-- read-records: what the database has to learn after a number. Waits until what it has open has been adopted: who is
-- not in the store by then is taken for gone.
-- KEYS[1]  the root
-- ARGV[1]  the epoch that the node believes in
-- ARGV[2]  JSON: { number, at most so many records }
-- Returns  { the newest number, 1 where some were lost, else 0, number and JSON of each record... }
local refusal = refuse_reader(ARGV[1])
if refusal then return refusal end
if not meta.isAdopted then return redis.error_reply('ANNOUNCING The nodes announce their sessions.') end
local after, limit = unpack(cjson.decode(ARGV[2]))
local lastSeq = tonumber(redis.call('HGET', META, 'recordSeq') or 0)
local oldest = redis.call('XRANGE', RECORDS, '-', '+', 'COUNT', 1)[1]
local firstSeq = oldest and tonumber(string.match(oldest[1], '^%d+')) or lastSeq + 1
local answer = { lastSeq, (after > lastSeq or after < firstSeq - 1) and 1 or 0 }
for _, entry in ipairs(redis.call('XRANGE', RECORDS, (after + 1) .. '-0', '+', 'COUNT', limit)) do
  answer[#answer + 1] = string.match(entry[1], '^%d+')
  answer[#answer + 1] = entry[2][2]
end
return answer
