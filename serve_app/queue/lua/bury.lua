-- ARGV: prefix, id, conversation, payload, trace, dedupe ms, reason, error, fairness key.
-- Returns {dead letter}, or {} if the id was accepted or buried before.
local id = ARGV[2]
if redis.call('EXISTS', job_key(id)) == 1 or redis.call('HEXISTS', BURIED, id) == 1 then return {} end
if not redis.call('SET', dedupe_key(id), '1', 'NX', 'PX', ARGV[6]) then return {} end
local now = now_ms()
redis.call('HSET', job_key(id), 'c', ARGV[3], 'p', ARGV[4], 't', ARGV[5], 'at', int(now), 'f', ARGV[9])
add_history(id, ARGV[8], now, 1, false)
return { bury_job(id, ARGV[7]) }
