-- The provider said that a sender is too fast: nothing goes for a while, and then at half the rate.
-- KEYS: the sender's bucket. ARGV: seconds to wait at least, the longest pause of our own choice, seconds until a
-- strike is forgotten. Returns the seconds to wait.

local BUCKET = KEYS[1]
local asked, longest, recovery = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local MOST_STRIKES = 5

local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000

local function text(number) return string.format('%.6f', number) end

local held = redis.call('HMGET', BUCKET, 'strikes', 'struck_at', 'paused_until')
local paused_until = tonumber(held[3] or 0)
local strikes = 0
if held[1] then strikes = math.max(0, tonumber(held[1]) - (now - tonumber(held[2])) / recovery) end
if paused_until <= now then
  -- Others that were under way at the same time are refused too: they count as one.
  strikes = math.min(MOST_STRIKES, strikes + 1)
  redis.call('HSET', BUCKET, 'strikes', text(strikes), 'struck_at', text(now))
end
local pause = math.max(asked, math.min(longest, 0.5 * 2 ^ strikes))
paused_until = math.max(paused_until, now + pause)
redis.call('HSET', BUCKET, 'tokens', '1', 'at', text(paused_until), 'paused_until', text(paused_until))
redis.call('PEXPIRE', BUCKET, math.ceil((paused_until - now + (MOST_STRIKES + 1) * recovery) * 1000))
return text(paused_until - now)
