-- read-changes: what the log has after a number.
-- KEYS[1]  the root
-- ARGV[1]  the epoch that the node believes in
-- ARGV[2]  JSON: { number, at most so many entries }
-- Returns  { the newest number, 1 where the log holds everything after the number, else 0, entries as JSON... }
local refusal = refuse_reader(ARGV[1])
if refusal then return refusal end
local after, limit = unpack(cjson.decode(ARGV[2]))
local lastSeq = last_number('seq')
trim_log()
if not reaches(LOG, after, lastSeq) then return { lastSeq, 0 } end
local answer = { lastSeq, 1 }
-- A few at a time: entries of somebody in many rooms are long, and an answer has a bound.
local count, bytes, from = 0, 0, after + 1
while count < limit and bytes < limits.answerBytes do
  local found = redis.call('XRANGE', LOG, from .. '-0', '+', 'COUNT', math.min(100, limit - count))
  if #found == 0 then break end
  for _, entry in ipairs(found) do
    count = count + 1
    bytes = bytes + #text_of(entry)
    answer[#answer + 1] = text_of(entry)
  end
  from = number_of(found[#found]) + 1
end
return answer
