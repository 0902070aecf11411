-- ARGV: prefix, consumer, jobs a turn at most, turns at most, entries read before (a blocking read can't run in a script)...
-- Returns {now ms, {entry, conversation, deliveries, jobs, waiting since ms or nothing}...}.
local consumer, limit, most = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local entries = {}

for i = 5, #ARGV do
  if holds(ARGV[i], consumer, 1) then
    local found = redis.call('XRANGE', READY, ARGV[i], ARGV[i])[1]
    if found then entries[#entries + 1] = found end
  end
end

-- First of all writes: the one that a server without memory allows, and with it what follows.
local function read(count)
  if count <= 0 then return end
  local read = redis.call('XREADGROUP', 'GROUP', GROUP, consumer, 'COUNT', count, 'STREAMS', READY, '>')
  if read then
    for _, found in ipairs(read[1][2]) do entries[#entries + 1] = found end
  end
end

read(most - #entries)
read(advance(most - #entries))
-- One token stays on the stream while others wait, so that consumers blocked on it wake one another.
if redis.call('EXISTS', RING) == 1 and undelivered() == 0 then advance(1) end

local now = now_ms()
local turns = { int(now) }
for _, found in ipairs(entries) do
  local entry, conversation = found[1], found[2][2]
  -- An entry that is open already is ours too: the client sends a command again whose answer it lost.
  if string.match(redis.call('HGET', ACTIVE, conversation) or '', '^%S+') ~= entry then
    drop_entry(entry) -- not the conversation's token: left over from a restored backup
  else
    local jobs = open_turn(conversation, entry, limit)
    if #jobs > 0 then
      turns[#turns + 1] = { entry, conversation, 1, jobs, found[2][4] }
    else
      go_on(conversation, entry, now)
    end
  end
end
return turns
