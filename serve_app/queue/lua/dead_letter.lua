-- ARGV: prefix, entry, consumer, deliveries, conversation, reason, error, most history, job ids...
-- Returns the dead letters: none for a turn of several jobs, which are repeated one by one.
local entry, consumer, conversation = ARGV[2], ARGV[3], ARGV[5]
if not holds(entry, consumer, ARGV[4]) then return STALE end
start_writing(entry, consumer)
local now = now_ms()
if #ARGV > 9 then
  for i = 9, #ARGV do
    redis.call('HSET', job_key(ARGV[i]), 'alone', '1')
    add_history(ARGV[i], ARGV[7], now, ARGV[8], false)
  end
  make_ready(conversation)
  drop_entry(entry)
  return {}
end
redis.call('HINCRBY', job_key(ARGV[9]), 'a', 1)
add_history(ARGV[9], ARGV[7], now, ARGV[8], false)
local letter = bury_job(ARGV[9], ARGV[6])
go_on(conversation, entry, now)
return { letter }
