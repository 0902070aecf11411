-- ARGV: prefix, entry, consumer, deliveries, conversation, delay ms, error, most attempts, most history, job ids...
-- Returns the dead letters. Attempts end only for a job that was alone: with neighbours it isn't known
-- whose fault it was.
local entry, consumer, conversation = ARGV[2], ARGV[3], ARGV[5]
if not holds(entry, consumer, ARGV[4]) then return STALE end
start_writing(entry, consumer)
local now, single = now_ms(), #ARGV == 10
for i = 10, #ARGV do
  redis.call('HINCRBY', job_key(ARGV[i]), 'a', 1)
  add_history(ARGV[i], ARGV[7], now, ARGV[9], false)
end
if single and tonumber(redis.call('HGET', job_key(ARGV[10]), 'a')) >= tonumber(ARGV[8]) then
  local letter = bury_job(ARGV[10], 'exhausted')
  go_on(conversation, entry, now)
  return { letter }
end
count_retry(now)
park(conversation, now + tonumber(ARGV[6]), 'later')
drop_entry(entry)
return {}
