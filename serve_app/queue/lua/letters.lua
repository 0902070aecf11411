-- ARGV: prefix, first, last, count. Dead letters in the order in which they died.
return redis.call('XRANGE', DEAD, ARGV[2], ARGV[3], 'COUNT', ARGV[4])
