-- ARGV: prefix, last, count. Dead letters up to `last`, the latest to die first.
return redis.call('XREVRANGE', DEAD, ARGV[2], '-', 'COUNT', ARGV[3])
