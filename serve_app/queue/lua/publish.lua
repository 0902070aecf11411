-- ARGV: prefix, id, conversation, payload, trace, dedupe ms, debounce ms, longest debounce ms,
-- fairness key.
-- Returns 1, or 0 if the id was accepted before.
local id, conversation = ARGV[2], ARGV[3]
local debounce = tonumber(ARGV[7])

if redis.call('EXISTS', job_key(id)) == 1 then return 0 end
if not redis.call('SET', dedupe_key(id), '1', 'NX', 'PX', ARGV[6]) then return 0 end

local now = now_ms()
local fields = { 'c', conversation, 'p', ARGV[4], 't', ARGV[5], 'at', int(now) }
local function add(name, value)
  fields[#fields + 1] = name
  fields[#fields + 1] = value
end
if ARGV[9] ~= '' then add('f', ARGV[9]) end
local quiet_at, latest = now + debounce, now + tonumber(ARGV[8])
if debounce > 0 then
  add('quiet_at', int(quiet_at))
  add('latest', int(latest))
end
redis.call('HSET', job_key(id), unpack(fields))
local mailbox = mailbox_key(conversation)
local length = redis.call('RPUSH', mailbox, id)

local where = redis.call('HGET', ACTIVE, conversation)
-- As `burst_end` would say; what is known of the job needn't be read again.
local due = 0
if debounce > 0 then
  if length > 1 then
    latest = tonumber(redis.call('HGET', job_key(redis.call('LINDEX', mailbox, 0)), 'latest') or 0)
  end
  due = math.min(quiet_at, latest)
end
if not where then
  if due > now then park(conversation, due, 'burst') else make_ready(conversation, ARGV[9]) end
elseif where == 'burst' and due > 0 then
  redis.call('ZADD', DELAYED, 'XX', 'GT', int(due), conversation)
end
return 1
