-- The keys of the live state, and the checks at the start of every script.
--
-- KEYS[1] is the root, `{rollcall:<app>}`. All keys begin with it, so they lie in one slot of a Cluster, and a script
-- may derive the other keys. `false` stands for null in stored values and in answers: a Lua table cannot hold nil.
local root = KEYS[1]
local META = root .. ':meta' -- hash: the epoch, the counters, and the times of the last sweep and the like
local ONLINE = root .. ':online' -- zset, by id: users whom everyone sees online
local UNLISTED = root .. ':unlisted' -- zset, by id: users in the store who are in no list
-- list: keys of zsets, by id: users of ONLINE and UNLISTED when this epoch began, who are not adopted yet
local INHERITED = root .. ':inherited'
local DUE = root .. ':due' -- zset: user ids by their earliest deadline, or a time before it
local DEPARTING = root .. ':departing' -- zset: users without sessions, by the number of their last record
local LOG = root .. ':log' -- stream `<seq>-0`: the change log
local RECORDS = root .. ':records' -- stream `<seq>-0`: the records for the database
local NODES = root .. ':nodes' -- zset: node ids by the end of their lease
local RETURNING = root .. ':returning' -- zset: nodes that still lack some of their sockets, by last renewal
local DISMISSED = root .. ':dismissed' -- stream `<n>-0`: dismissals: users whose sockets every node closes
local ANNOUNCING = root .. ':announcing' -- set: nodes that have not attached all of their sessions to a new epoch yet
-- hash, by forgotten user: the last record that can be theirs, until it is acknowledged
local FORGOTTEN = root .. ':forgotten'
local BELL = root .. ':bell' -- pub/sub channel: notifies the nodes at once of what the streams keep

local meta = {}

local function user_key(userId) return root .. ':user:' .. userId end
-- zset, by id: users whom everyone sees in the room. The key names its epoch, so in a new epoch a user is in no room
-- until their settings are confirmed.
local function room_key(room, epoch) return root .. ':room:' .. (epoch or meta.epoch) .. ':' .. room end
local function node_key(nodeId) return root .. ':node:' .. nodeId end -- set: users with a socket there
local function losses_key(nodeId) return root .. ':losses:' .. nodeId end -- list: losses not confirmed yet
local function loss_count_key(nodeId) return root .. ':loss-count:' .. nodeId end
-- hash, by session: rooms that are stored apart from the user's value (shared/user.lua)
local function rooms_key(userId) return root .. ':rooms:' .. userId end
-- The next two keys name their epoch, because the log begins again with each epoch.
local function trail_key(userId) return root .. ':trail:' .. meta.epoch .. ' ' .. userId end -- list: shared/trail.lua
-- hash, by room: '+' or '-'
local function deferred_key(userId) return root .. ':deferred:' .. meta.epoch .. ' ' .. userId end
local function budget_key(caller) return root .. ':budget:' .. caller end -- when the budget is full again, in epoch ms
local function ahead_key(userId) return root .. ':ahead:' .. userId end -- JSON: settings of a user who is absent
-- JSON { atMs, reason }: the end of a session before the adoption. sessionId: '*' for all sessions of the user.
local function gone_key(userId, sessionId) return root .. ':gone:' .. userId .. ' ' .. sessionId end
local function refused_key(fence) return root .. ':refused:' .. fence end -- exists while its attach is refused

-- Two clocks. `nowMs` is TIME, the wall clock: it dates moments (`...AtMs`). `steadyMs` is TIME without its steps and
-- without the times in which no node swept: it measures leases, idle times and the age of the log (`...SteadyMs`).
-- `skewMs` of META is nowMs - steadyMs; only keep_steady and the sweep change it. All times in META except `sweptAtMs`
-- are on the steady clock. They keep their names because older versions, which had only TIME, share the state.
local nowMs = store_time_ms()
local steadyMs = nowMs

-- After a longer gap between sweeps, Redis was unreachable or its clock was set forward: no node could report anything.
local CALM_GAP_MS = math.max(timing.nodeTtlMs / 2, limits.sweepLateMs)

-- The clock can be set back by this much without a pause.
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

-- If TIME jumped since the last sweep, the steady clock continues from that sweep. The jump can hide a time in which no
-- node could report anything; then a pause begins: statuses stay as they were at the last sweep, and no lease ends.
-- passedMs: the time since that sweep by the caller's own clock, nil if unknown.
-- Returns whether TIME jumped. Only this script has the new values then; keep_jump stores them for the next scripts.
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

-- Every script begins with this check, refuse_reader or refuse_recorder, except ack-records, check-rights and
-- join-epoch.
-- epoch: the one that the node believes in. passedMs: see keep_steady.
-- Returns an error if the store has another epoch or none: then the script must do nothing.
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
  -- The jump is not stored: a full Redis refuses writes, but must stay readable.
  keep_steady()
  if meta.isAnnouncing then return still_announcing() end
  return nil
end

local function is_calm() return steadyMs < meta.calmUntilMs end

-- The time for deciding who is away or idle. During a pause it stays at the last sweep before the pause.
local function judged_ms() return is_calm() and math.min(steadyMs, meta.frozenAtMs) or steadyMs end

-- The recorder ends every session in the database that is not in the store. So it waits until the open sessions of the
-- database have been adopted.
local function refuse_recorder(epoch)
  local refusal = refuse_reader(epoch)
  if refusal then return refusal end
  if not meta.isAdopted then return still_announcing() end
  return nil
end

-- name: 'seq' of the change log, 'recordSeq', 'bell'.
local function last_number(name) return tonumber(redis.call('HGET', META, name) or 0) end

-- The id of an entry in either stream is its number.
local function number_of(entry) return tonumber(string.match(entry[1], '^%d+')) end

-- Whether a stream still holds everything after a number.
local function reaches(stream, after, lastNumber)
  local oldest = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
  local firstNumber = oldest and number_of(oldest) or lastNumber + 1
  return after <= lastNumber and after >= firstNumber - 1
end

-- Turns null of JSON, and nil, into false.
local function given(value)
  if value == nil or value == cjson.null then return false end
  return value
end
