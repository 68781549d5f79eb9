-- Where everything lies, and what every script looks at first.
--
-- KEYS[1] is the root, `{rollcall:<app>}`. All keys begin with it, so they lie in one slot, and a script may derive
-- what it needs. `false` stands for null wherever a value is kept or answered: a Lua table cannot hold nil.
local root = KEYS[1]
local META = root .. ':meta' -- hash: the epoch, the numbers that count up, and when things last happened
local ONLINE = root .. ':online' -- zset, by id: who everyone sees online
local UNLISTED = root .. ':unlisted' -- zset, by id: who is in the store and in no list
local INHERITED = root .. ':inherited' -- list: keys of zsets, by id: who was listed or not when this epoch began, and is to be adopted
local DUE = root .. ':due' -- zset: user ids by the moment that something of theirs may be due
local DEPARTING = root .. ':departing' -- zset: users without sessions by their last record
local LOG = root .. ':log' -- stream `<seq>-0`: the changes
local RECORDS = root .. ':records' -- stream `<seq>-0`: what the database has to learn
local NODES = root .. ':nodes' -- zset: node ids by the end of their lease
local RETURNING = root .. ':returning' -- zset: nodes that are not back with all of their sockets yet, by their last word
local DISMISSED = root .. ':dismissed' -- stream `<n>-0`: users whose sockets have to go
local ANNOUNCING = root .. ':announcing' -- set: nodes that still bring their sessions to a new epoch
local FORGOTTEN = root .. ':forgotten' -- hash: of users who were forgotten, the last record that may be theirs, until it is acknowledged
local BELL = root .. ':bell' -- channel: says at once what the streams keep

local meta = {}

local function user_key(userId) return root .. ':user:' .. userId end
-- zset, by id: who everyone sees in the room. Of one epoch: who was in it before is not in it before they are confirmed.
local function room_key(room, epoch) return root .. ':room:' .. (epoch or meta.epoch) .. ':' .. room end
local function node_key(nodeId) return root .. ':node:' .. nodeId end -- set: users with a socket there
local function losses_key(nodeId) return root .. ':losses:' .. nodeId end -- list: what it was not told yet
local function loss_count_key(nodeId) return root .. ':loss-count:' .. nodeId end
local function rooms_key(userId) return root .. ':rooms:' .. userId end -- hash, by session: rooms that lie apart, shared/user.lua
-- Of one epoch, as the log is.
local function trail_key(userId) return root .. ':trail:' .. meta.epoch .. ' ' .. userId end -- list: shared/trail.lua
local function deferred_key(userId) return root .. ':deferred:' .. meta.epoch .. ' ' .. userId end -- hash: '+' or '-' by room
local function budget_key(caller) return root .. ':budget:' .. caller end -- when it is full again
local function ahead_key(userId) return root .. ':ahead:' .. userId end -- settings of who is not there
local function gone_key(userId, sessionId) return root .. ':gone:' .. userId .. ' ' .. sessionId end -- JSON { atMs, reason }: it, or '*': all, ended before the adoption
local function refused_key(fence) return root .. ':refused:' .. fence end -- a fence whose attach comes too late

-- Two clocks. `nowMs` is TIME: what is told or written as a moment (`...AtMs`). `steadyMs` is TIME without its steps and
-- without the times in which nobody swept: what is counted (`...SteadyMs`: leases, idle times, the age of the log).
-- `skewMs` of META is what TIME is ahead of it; it changes only in keep_steady and in the sweep. All other times in META
-- but `sweptAtMs` are steady ones; their names are those of versions that had only TIME, and share the state.
local nowMs = store_time_ms()
local steadyMs = nowMs

-- Where no sweep came for so long, Redis was away or its clock was set forward: no node could report anything in that time.
local CALM_GAP_MS = math.max(timing.nodeTtlMs / 2, limits.sweepLateMs)

-- What a clock may be set back without a pause.
local STEP_BACK_MS = 1000
local CALM_MS = timing.heartbeatIntervalMs + timing.nodeTtlMs

local function read_meta()
  local values = redis.call('HMGET', META, 'epoch', 'sweptAtMs', 'calmUntilMs', 'frozenAtMs', 'isAnnouncing', 'isAdopted',
    'skewMs')
  meta.epoch = values[1]
  meta.skewMs = tonumber(values[7] or 0)
  steadyMs = nowMs - meta.skewMs
  meta.sweptAtMs = tonumber(values[2] or nowMs)
  meta.calmUntilMs = tonumber(values[3] or 0)
  meta.frozenAtMs = tonumber(values[4] or steadyMs)
  meta.isAnnouncing = values[5] == '1'
  meta.isAdopted = values[6] == '1'
end

local function other_epoch() return redis.error_reply('EPOCH The state is of another epoch.') end
local function still_announcing() return redis.error_reply('ANNOUNCING The nodes announce their sessions.') end

-- Where TIME jumped since the last sweep, the steady clock goes on from there. A jump that may hide a time in which
-- nobody could tell anything begins a pause: statuses stay as they were when the last sweep looked, and no lease ends.
-- passedMs: how much time has passed since that sweep, as far as the caller knows.
-- Returns whether it jumped: this script knows it then, and keep_jump keeps it for the next ones.
local function keep_steady(passedMs)
  local gapMs = nowMs - meta.sweptAtMs
  if gapMs >= 0 and gapMs <= CALM_GAP_MS then return false end
  local sweptSteadyMs = meta.sweptAtMs - meta.skewMs
  steadyMs = sweptSteadyMs + math.min(passedMs or 0, timing.sweepIntervalMs)
  meta.skewMs = nowMs - steadyMs
  meta.sweptAtMs = nowMs
  meta.isPauseNew = gapMs > CALM_GAP_MS or gapMs < -STEP_BACK_MS
  if meta.isPauseNew then
    if steadyMs >= meta.calmUntilMs then meta.frozenAtMs = sweptSteadyMs end
    meta.calmUntilMs = steadyMs + CALM_MS
  end
  return true
end

local function keep_jump()
  redis.call('HSET', META, 'skewMs', meta.skewMs, 'sweptAtMs', nowMs, 'isSweepLate', 1, 'isReapLate', 1)
  if not meta.isPauseNew then return end
  redis.call('HSET', META, 'frozenAtMs', meta.frozenAtMs, 'calmUntilMs', meta.calmUntilMs,
    'reapFromMs', steadyMs + timing.nodeTtlMs)
end

-- Every script but those that open and join an epoch begins here, with what its node believes.
-- Returns an error where the store's epoch is another or missing: then nothing may be done.
-- passedMs: see keep_steady.
local function refuse_stranger(epoch, passedMs)
  read_meta()
  if meta.epoch ~= epoch then return other_epoch() end
  if keep_steady(passedMs) then keep_jump() end
  return nil
end

-- Reads wait until the nodes have announced their sessions, so that nobody reads a half-empty list.
local function refuse_reader(epoch)
  read_meta()
  if meta.epoch ~= epoch then return other_epoch() end
  -- Not kept: a full Redis refuses writes, and can be read.
  keep_steady()
  if meta.isAnnouncing then return still_announcing() end
  return nil
end

local function is_calm() return steadyMs < meta.calmUntilMs end

-- By which time alone makes people away and idle.
local function judged_ms() return is_calm() and math.min(steadyMs, meta.frozenAtMs) or steadyMs end

-- What the records say is taken for everybody: a user who is not in the store by then is gone. So they wait until what
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
