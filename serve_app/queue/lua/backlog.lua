-- ARGV: prefix. Returns {waiting, in flight, delayed, dead, age of the oldest waiting in ms}.
local pending = redis.call('XPENDING', READY, GROUP)[1]
local last
for _, group in ipairs(redis.call('XINFO', 'GROUPS', READY)) do
  local fields = {}
  for i = 1, #group, 2 do fields[group[i]] = group[i + 1] end
  if fields['name'] == GROUP then last = fields['last-delivered-id'] end
end
local now = now_ms()
local since = now
local first = redis.call('XRANGE', READY, '(' .. last, '+', 'COUNT', 1)[1]
if first then since = math.min(since, tonumber(first[2][4] or string.match(first[1], '^%d+'))) end
local lined = redis.call('ZRANGE', LINED, 0, 0, 'WITHSCORES')
if lined[2] then since = math.min(since, tonumber(lined[2])) end
local waiting = redis.call('XLEN', READY) - pending + redis.call('ZCARD', LINED)
return { waiting, pending, redis.call('ZCARD', DELAYED), redis.call('XLEN', DEAD), now - since }
