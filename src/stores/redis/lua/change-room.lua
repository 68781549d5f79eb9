-- change-room: adds a session to a room, or removes it from one.
-- Keep in step with src/stores/memory/index.ts (`changeRoom`).
-- KEYS[1]  the root
-- ARGV[1]  the epoch that the node believes in
-- ARGV[2]  the RoomRequest of src/presence/store.ts as JSON, and isJoin
-- Returns  JSON: { 'done', session }; { 'late' }, { 'unknown' } and { 'full' } wrote nothing
local refusal = refuse_stranger(ARGV[1])
if refusal then return refusal end
local request = cjson.decode(ARGV[2])
local user = load_to_change(request.userId)
local session = user and session_of(user, request.sessionId)
if not session then return cjson.encode({ 'unknown' }) end
if given(request.fence) and session.fence ~= request.fence then return cjson.encode({ 'late' }) end

local rooms, isIn = {}, false
for _, room in ipairs(session.rooms) do
  if room == request.room then isIn = true else rooms[#rooms + 1] = room end
end
if isIn ~= request.isJoin then
  if request.isJoin then
    if #session.rooms >= limits.roomsPerSession then return cjson.encode({ 'full' }) end
    rooms[#rooms + 1] = request.room
  end
  session.rooms = rooms
  commit(user, { touched = { { session = session, finish = false } }, isViewerChanged = true })
end
return cjson.encode({ 'done', session_view(session) })
