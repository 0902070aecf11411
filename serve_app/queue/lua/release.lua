-- ARGV: prefix, entry, consumer, deliveries, conversation.
local entry, consumer = ARGV[2], ARGV[3]
if not holds(entry, consumer, ARGV[4]) then return STALE end
start_writing(entry, consumer)
make_ready(ARGV[5])
drop_entry(entry)
return 1
