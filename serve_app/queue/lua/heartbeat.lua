-- ARGV: prefix, entry, consumer, deliveries. JUSTID resets the idle time and doesn't count a delivery.
if not holds(ARGV[2], ARGV[3], ARGV[4]) then return STALE end
redis.call('XCLAIM', READY, GROUP, ARGV[3], 0, ARGV[2], 'JUSTID')
return 1
