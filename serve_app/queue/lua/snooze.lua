-- ARGV: prefix, entry, consumer, deliveries, conversation, delay ms, note, most history, limit ms or '', job ids...
-- Returns 1, or 0 with nothing done if a job's snoozes with a limit began longer ago than that.
local entry, consumer, conversation = ARGV[2], ARGV[3], ARGV[5]
if not holds(entry, consumer, ARGV[4]) then return STALE end
start_writing(entry, consumer)
local now = now_ms()
if ARGV[9] ~= '' then
  for i = 10, #ARGV do
    local since = tonumber(redis.call('HGET', job_key(ARGV[i]), 'since') or now)
    if now - since > tonumber(ARGV[9]) then return 0 end
  end
  for i = 10, #ARGV do redis.call('HSETNX', job_key(ARGV[i]), 'since', int(now)) end
end
for i = 10, #ARGV do add_history(ARGV[i], ARGV[7], now, ARGV[8], true) end
park(conversation, now + tonumber(ARGV[6]), 'later')
drop_entry(entry)
return 1
