-- ARGV: prefix, job id. Returns {state, conversation, job | dead letter | nothing}.
local id = ARGV[2]
local job = redis.call('HMGET', job_key(id), 'c', 'p', 't', 'at', 'a', 'x', 'h', 'f')
if job[1] then
  local conversation = job[1]
  local row = { id, job[2], job[3], job[4], job[5], job[6], job[7], job[8] }
  local where = redis.call('HGET', ACTIVE, conversation) or ''
  if where == 'burst' or where == 'later' then return { 'delayed', conversation, row } end
  local taken = tonumber(string.match(where, ' (%d+)$')) or 0
  if taken > 0 then
    for _, running in ipairs(redis.call('LRANGE', mailbox_key(conversation), 0, taken - 1)) do
      if running == id then return { 'running', conversation, row } end
    end
  end
  return { 'waiting', conversation, row }
end
local entry = redis.call('HGET', BURIED, id)
if entry then
  local letter = redis.call('XRANGE', DEAD, entry, entry)[1]
  if letter then return { 'dead', '', letter } end
end
if redis.call('EXISTS', dedupe_key(id)) == 1 then return { 'done' } end
return { 'unknown' }
