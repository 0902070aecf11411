-- ARGV: prefix, entry, consumer, deliveries, conversation, job ids...
-- The ids stay in `dedupe`: that is how a done job is known.
local entry, conversation = ARGV[2], ARGV[5]
if not holds(entry, ARGV[3], ARGV[4]) then return STALE end
local mailbox = mailbox_key(conversation)
for i = 6, #ARGV do remove_job(mailbox, ARGV[i]) end
go_on(conversation, entry, now_ms())
return 1
