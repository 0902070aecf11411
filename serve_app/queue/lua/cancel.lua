-- ARGV: prefix, job id. Forgets a job that isn't running. Returns 'waiting' (it is forgotten), 'running' or
-- 'unknown'. The token stays: a turn that finds its mailbox empty gives the conversation's place up.
local id = ARGV[2]
local conversation = redis.call('HGET', job_key(id), 'c')
if not conversation then return 'unknown' end
local mailbox = mailbox_key(conversation)
local taken = tonumber(string.match(redis.call('HGET', ACTIVE, conversation) or '', ' (%d+)$')) or 0
if taken > 0 then
  for _, running in ipairs(redis.call('LRANGE', mailbox, 0, taken - 1)) do
    if running == id then return 'running' end
  end
end
remove_job(mailbox, id)
return 'waiting'
