-- ARGV: prefix, how many seconds ago. Returns the attempts that failed since then and came again, counted by
-- whole minutes.
local first = math.floor((now_ms() / 1000 - tonumber(ARGV[2])) / 60)
local counts, sum = redis.call('HGETALL', RETRIED), 0
for i = 1, #counts, 2 do
  if tonumber(counts[i]) >= first then sum = sum + tonumber(counts[i + 1]) end
end
return sum
