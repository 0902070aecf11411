-- ARGV: prefix, tokens at most. Returns how many became ready.
local due = redis.call('ZRANGEBYSCORE', DELAYED, '-inf', int(now_ms()), 'LIMIT', 0, ARGV[2])
for _, conversation in ipairs(due) do
  make_ready(conversation)
  redis.call('ZREM', DELAYED, conversation)
end
return #due
