-- ARGV: prefix, dead letter, dedupe ms. Returns 1, or 0 if there is no such letter (any more).
-- The job is taken alone: it failed before.
local letter = redis.call('XRANGE', DEAD, ARGV[2], ARGV[2])[1]
if not letter then return 0 end
local fields = {}
for i = 1, #letter[2], 2 do fields[letter[2][i]] = letter[2][i + 1] end
local id, conversation = fields['id'], fields['c']
if redis.call('EXISTS', job_key(id)) == 0 then
  redis.call('SET', dedupe_key(id), '1', 'PX', ARGV[3])
  redis.call('HSET', job_key(id), 'c', conversation, 'p', fields['p'], 't', fields['t'],
    'at', int(now_ms()), 'h', fields['h'], 'f', fields['f'] or '', 'alone', '1')
  redis.call('RPUSH', mailbox_key(conversation), id)
  if redis.call('HEXISTS', ACTIVE, conversation) == 0 then make_ready(conversation) end
end
if redis.call('HGET', BURIED, id) == ARGV[2] then redis.call('HDEL', BURIED, id) end
redis.call('XDEL', DEAD, ARGV[2])
return 1
