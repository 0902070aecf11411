-- ARGV: prefix, id, conversation, payload, trace, dedupe ms, debounce ms, longest debounce ms,
-- fairness key.
-- Returns 1, or 0 if the id was accepted before.
local id, conversation = ARGV[2], ARGV[3]
local debounce = tonumber(ARGV[7])

if redis.call('EXISTS', job_key(id)) == 1 then return 0 end
if not redis.call('SET', dedupe_key(id), '1', 'NX', 'PX', ARGV[6]) then return 0 end

local now = now_ms()
redis.call('HSET', job_key(id), 'c', conversation, 'p', ARGV[4], 't', ARGV[5], 'at', int(now))
if ARGV[9] ~= '' then redis.call('HSET', job_key(id), 'f', ARGV[9]) end
if debounce > 0 then
  local latest = now + tonumber(ARGV[8])
  redis.call('HSET', job_key(id), 'quiet_at', int(now + debounce), 'latest', int(latest))
end
local mailbox = mailbox_key(conversation)
redis.call('RPUSH', mailbox, id)

local where = redis.call('HGET', ACTIVE, conversation)
local due = burst_end(mailbox)
if not where then
  if due > now then park(conversation, due, 'burst') else make_ready(conversation, ARGV[9]) end
elseif where == 'burst' and due > 0 then
  redis.call('ZADD', DELAYED, 'XX', 'GT', int(due), conversation)
end
return 1
