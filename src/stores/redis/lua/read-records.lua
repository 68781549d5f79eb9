-- read-records: the records after a number.
-- Keep in step with src/stores/memory/population.ts (`records.read`).
-- KEYS[1]  the root
-- ARGV[1]  the epoch that the node believes in
-- ARGV[2]  JSON: { number, most records to return }
-- Returns  { the newest number, 1 if records after the number were lost, else 0, number and JSON of each record... }
local refusal = refuse_recorder(ARGV[1])
if refusal then return refusal end
local after, limit = unpack(cjson.decode(ARGV[2]))
local lastSeq = last_number('recordSeq')
local answer = { lastSeq, reaches(RECORDS, after, lastSeq) and 0 or 1 }
-- Maps each forgotten user to the last record that can be theirs. Usually there is none, and no record is decoded.
local forgotten, isAnyForgotten = {}, false
local pairs_of = redis.call('HGETALL', FORGOTTEN)
for index = 1, #pairs_of, 2 do
  forgotten[pairs_of[index]] = tonumber(pairs_of[index + 1])
  isAnyForgotten = true
end
local function text_to_write(number, text)
  if not isAnyForgotten then return text end
  local userId = cjson.decode(text)[1]
  if number > (forgotten[userId] or 0) then return text end
  return cjson.encode({ userId, false, false, {}, false, true })
end

-- Reads a few at a time: records of sessions in many rooms are long, and limits.answerBytes bounds the answer.
local count, bytes, from = 0, 0, after + 1
while count < limit and bytes < limits.answerBytes do
  local found = redis.call('XRANGE', RECORDS, from .. '-0', '+', 'COUNT', math.min(50, limit - count))
  if #found == 0 then break end
  for _, entry in ipairs(found) do
    answer[#answer + 1] = number_of(entry)
    answer[#answer + 1] = text_to_write(number_of(entry), entry[2][2])
    count = count + 1
    bytes = bytes + #entry[2][2]
  end
  from = number_of(found[#found]) + 1
end
return answer
