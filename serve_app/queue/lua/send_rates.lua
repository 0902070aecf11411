-- One message asks to be sent: "0" if it may go now, its tokens taken, else the seconds it should wait.
-- KEYS: the sender's bucket, the messages waiting for it, the recipient's bucket; all of one hash tag.
-- ARGV: who asks, cost, the sender's rate and burst, the recipient's rate and burst, seconds until a strike is
-- forgotten, seconds after which one that waits and doesn't come back has lost its place.
--
-- Who is refused gets a place in line, and tokens are kept for those in front: a message that comes back on time
-- isn't overtaken by newer ones, and waiting messages don't all come back at the same moment.

local BUCKET, LINE, RECIPIENT = KEYS[1], KEYS[2], KEYS[3]
local who, cost = ARGV[1], tonumber(ARGV[2])
local rate, burst = tonumber(ARGV[3]), tonumber(ARGV[4])
local their_rate, their_burst = tonumber(ARGV[5]), tonumber(ARGV[6])
local recovery, patience = tonumber(ARGV[7]), tonumber(ARGV[8])

local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000

local function text(number) return string.format('%.6f', number) end

local function level(key, per_second, most)
  local held = redis.call('HMGET', key, 'tokens', 'at')
  if not held[1] then return most end
  local tokens = tonumber(held[1]) + math.max(0, now - tonumber(held[2])) * per_second
  return math.min(most, tokens)
end

local function keep(key, tokens, per_second, most, at_least)
  redis.call('HSET', key, 'tokens', text(tokens), 'at', text(now))
  local seconds = math.max((most - tokens) / per_second, at_least)
  redis.call('PEXPIRE', key, math.ceil(seconds * 1000) + 1000)
end

local struck = redis.call('HMGET', BUCKET, 'strikes', 'struck_at', 'paused_until')
local strikes = 0
if struck[1] then strikes = math.max(0, tonumber(struck[1]) - (now - tonumber(struck[2])) / recovery) end
rate = rate * 0.5 ^ strikes

redis.call('ZREMRANGEBYSCORE', LINE, '-inf', text(now - patience))
local ahead = redis.call('ZRANK', LINE, who) or redis.call('ZCARD', LINE)

local wait = 0
local tokens = level(BUCKET, rate, burst)
local paused_until = tonumber(struck[3] or 0)
if paused_until > now then
  wait = paused_until - now + ahead / rate
else
  local needed = math.min(cost, burst) + ahead
  if tokens < needed then wait = (needed - tokens) / rate end
end

local theirs = level(RECIPIENT, their_rate, their_burst)
local their_wait = 0
if theirs < 1 then their_wait = (1 - theirs) / their_rate end

if wait == 0 and their_wait == 0 then
  keep(BUCKET, tokens - cost, rate, burst, strikes * recovery)
  keep(RECIPIENT, theirs - 1, their_rate, their_burst, 0)
  redis.call('ZREM', LINE, who)
  return '0'
end
if their_wait > wait then
  -- It must not keep others of the same sender waiting.
  redis.call('ZREM', LINE, who)
  return text(their_wait)
end
redis.call('ZADD', LINE, text(now + wait), who)
redis.call('PEXPIRE', LINE, math.ceil((wait + patience) * 1000) + 60000)
return text(wait)
