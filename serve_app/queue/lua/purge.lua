-- ARGV: prefix, dead letter. Returns 1, or 0 if there is no such letter (any more).
local letter = redis.call('XRANGE', DEAD, ARGV[2], ARGV[2])[1]
if not letter then return 0 end
local id = letter[2][2]
if redis.call('HGET', BURIED, id) == ARGV[2] then redis.call('HDEL', BURIED, id) end
redis.call('XDEL', DEAD, ARGV[2])
return 1
