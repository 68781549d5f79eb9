-- Where everything lies, and what every script looks at first.
--
-- KEYS[1] is the root, `{rollcall:<app>}`. All keys begin with it, so they lie in one slot, and a script may derive
-- what it needs. `false` stands for null wherever a value is kept or answered: a Lua table cannot hold nil.
local root = KEYS[1]
local META = root .. ':meta' -- hash: the epoch, the numbers that count up, and when things last happened
local ONLINE = root .. ':online' -- zset, by id: who everyone sees online
local UNLISTED = root .. ':unlisted' -- zset, by id: who is in the store and in no list
local DUE = root .. ':due' -- zset: user ids by the moment that something of theirs may be due
local DEPARTING = root .. ':departing' -- zset: users without sessions by their last record
local LOG = root .. ':log' -- stream `<seq>-0`: the changes
local RECORDS = root .. ':records' -- stream `<seq>-0`: what the database has to learn
local NODES = root .. ':nodes' -- zset: node ids by the end of their lease
local DISMISSED = root .. ':dismissed' -- stream `<n>-0`: users whose sockets have to go
local ANNOUNCING = root .. ':announcing' -- set: nodes that still bring their sessions to a new epoch
local BELL = root .. ':bell' -- channel: says at once what the streams keep

local function user_key(userId) return root .. ':user:' .. userId end
local function room_key(room) return root .. ':room:' .. room end
local function node_key(nodeId) return root .. ':node:' .. nodeId end -- set: users with a socket there
local function losses_key(nodeId) return root .. ':losses:' .. nodeId end -- list: what it was not told yet
local function loss_count_key(nodeId) return root .. ':loss-count:' .. nodeId end
local function ahead_key(userId) return root .. ':ahead:' .. userId end -- settings of who is not there
local function gone_key(userId, sessionId) return root .. ':gone:' .. userId .. ' ' .. sessionId end -- it, or '*': all, ended early
local function refused_key(fence) return root .. ':refused:' .. fence end -- a fence whose attach comes too late

local nowMs = store_time_ms()
local meta = {}

local function read_meta()
  local values = redis.call('HMGET', META, 'epoch', 'sweptAtMs', 'calmUntilMs', 'frozenAtMs', 'isAnnouncing', 'isAdopted')
  meta.epoch = values[1]
  meta.sweptAtMs = tonumber(values[2] or nowMs)
  meta.calmUntilMs = tonumber(values[3] or 0)
  meta.frozenAtMs = tonumber(values[4] or nowMs)
  meta.isAnnouncing = values[5] == '1'
  meta.isAdopted = values[6] == '1'
end

local function other_epoch() return redis.error_reply('EPOCH The state is of another epoch.') end
local function still_announcing() return redis.error_reply('ANNOUNCING The nodes announce their sessions.') end

-- Where no sweep came for so long, Redis was away or its clock stepped: nobody could tell anything meanwhile.
local CALM_GAP_MS = math.max(timing.nodeTtlMs / 2, limits.sweepLateMs)

-- What a clock may be set back without anybody noticing.
local STEP_BACK_MS = 1000
local CALM_MS = timing.heartbeatIntervalMs + timing.nodeTtlMs

-- Returns whether it is so: the state of the script knows it, and keep_calm keeps it.
local function calm_down()
  local isBack = nowMs < meta.sweptAtMs - STEP_BACK_MS
  if not isBack and nowMs - meta.sweptAtMs <= CALM_GAP_MS then return false end
  -- Statuses stay for now as they were when the last sweep looked.
  meta.frozenAtMs = nowMs < meta.calmUntilMs and meta.frozenAtMs or meta.sweptAtMs
  meta.calmUntilMs = nowMs + CALM_MS
  meta.sweptAtMs = nowMs
  meta.isBack = isBack
  return true
end

local function keep_calm()
  redis.call('HSET', META, 'frozenAtMs', meta.frozenAtMs, 'calmUntilMs', meta.calmUntilMs, 'sweptAtMs', nowMs,
    'reapFromMs', nowMs + timing.nodeTtlMs, 'isSweepLate', 1, 'isReapLate', 1)
  if not meta.isBack then return end
  -- What was reckoned by the clock of before lies too far ahead. Users are gone through by the sweep.
  redis.call('HSET', META, 'reapedAtMs', nowMs, 'rescheduleFrom', '0')
  if meta.isAnnouncing then redis.call('HSET', META, 'openedAtMs', nowMs) end
  for _, nodeId in ipairs(redis.call('ZRANGE', NODES, 0, -1)) do
    redis.call('ZADD', NODES, 'LT', nowMs + timing.nodeTtlMs, nodeId)
  end
end

-- Every script but those that open and join an epoch begins here, with what its node believes.
-- Returns an error where the store's epoch is another or missing: then nothing may be done.
local function refuse_stranger(epoch)
  read_meta()
  if meta.epoch ~= epoch then return other_epoch() end
  if calm_down() then keep_calm() end
  return nil
end

-- Reads wait until the nodes have announced their sessions, so that nobody reads a half-empty list.
local function refuse_reader(epoch)
  read_meta()
  if meta.epoch ~= epoch then return other_epoch() end
  -- Not kept: a full Redis refuses writes, and can be read.
  calm_down()
  if meta.isAnnouncing then return still_announcing() end
  return nil
end

local function is_calm() return nowMs < meta.calmUntilMs end

-- The moment by which time alone makes people away and idle.
local function judged_ms() return is_calm() and math.min(nowMs, meta.frozenAtMs) or nowMs end

-- What the records say is taken for everybody: whoever is not in the store by then is gone. So they wait until what
-- the database has open has been adopted.
local function refuse_recorder(epoch)
  local refusal = refuse_reader(epoch)
  if refusal then return refusal end
  if not meta.isAdopted then return still_announcing() end
  return nil
end

-- name: 'seq' of the change log, 'recordSeq', 'bell'.
local function last_number(name) return tonumber(redis.call('HGET', META, name) or 0) end

-- Entries of both streams are named by their number.
local function number_of(entry) return tonumber(string.match(entry[1], '^%d+')) end

-- Whether a stream still holds everything after a number.
local function reaches(stream, after, lastNumber)
  local oldest = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
  local firstNumber = oldest and number_of(oldest) or lastNumber + 1
  return after <= lastNumber and after >= firstNumber - 1
end

-- JSON has null, Lua has false.
local function given(value)
  if value == nil or value == cjson.null then return false end
  return value
end
