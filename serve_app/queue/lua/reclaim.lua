-- ARGV: prefix, consumer, lease ms, turns at most, jobs a turn at most, most crashes, most history.
-- Returns {now ms, turns as `take` gives them, dead letters}.
--
-- XPENDING with IDLE looks at every pending entry, where XAUTOCLAIM stops after COUNT * 10: live entries never
-- hide dead ones, and no cursor is kept. The cost is linear in the turns in flight.
local consumer, lease = ARGV[2], tonumber(ARGV[3])
local max_crashes = tonumber(ARGV[6])
local now = now_ms()
local turns, letters = {}, {}

local function lost(row)
  local message = string.format('consumer silent for %.1f s', row[3] / 1000)
  return '"consumer":' .. cjson.encode(row[2]) .. ',"error_type":"ConsumerLost","message":"' .. message
    .. '","traceback":"","counted":false}'
end

for _, row in ipairs(redis.call('XPENDING', READY, GROUP, 'IDLE', int(lease), '-', '+', ARGV[4])) do
  local entry = row[1]
  local found = redis.call('XRANGE', READY, entry, entry)[1]
  local conversation = found and found[2][2]
  local where = found and redis.call('HGET', ACTIVE, conversation) or ''
  local token, taken = string.match(where or '', '^(%S+) ?(%d*)$')
  if token ~= entry then
    drop_entry(entry) -- its data is gone, or it isn't the conversation's token
  else
    redis.call('XCLAIM', READY, GROUP, consumer, 0, entry, 'RETRYCOUNT', row[4] + 1, 'JUSTID')
    local count = tonumber(taken) or 0 -- none: the consumer died before it opened the turn
    local ids = count > 0 and redis.call('LRANGE', mailbox_key(conversation), 0, count - 1) or {}
    for _, id in ipairs(ids) do
      redis.call('HINCRBY', job_key(id), 'x', 1)
      add_history(id, lost(row), now, ARGV[7], false)
    end
    if #ids == 1 and tonumber(redis.call('HGET', job_key(ids[1]), 'x')) >= max_crashes then
      letters[#letters + 1] = bury_job(ids[1], 'crash')
      go_on(conversation, entry, now)
    else
      local jobs = open_turn(conversation, entry, tonumber(ARGV[5]))
      if #jobs > 0 then
        turns[#turns + 1] = { entry, conversation, row[4] + 1, jobs, found[2][4] }
      else
        go_on(conversation, entry, now)
      end
    end
  end
end
return { int(now), turns, letters }
