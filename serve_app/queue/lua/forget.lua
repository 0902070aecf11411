-- ARGV: prefix, conversation, '1' to forget. Returns the payloads of the conversation's jobs. Forgotten, its
-- jobs, its token and a running turn's claim are gone: whoever works on it is told STALE.
local conversation = ARGV[2]
local mailbox = mailbox_key(conversation)
local payloads = {}
local ids = redis.call('LRANGE', mailbox, 0, -1)
for _, id in ipairs(ids) do
  payloads[#payloads + 1] = redis.call('HGET', job_key(id), 'p') or ''
end
if ARGV[3] ~= '1' then return payloads end
for _, id in ipairs(ids) do redis.call('DEL', job_key(id)) end
redis.call('DEL', mailbox)
redis.call('ZREM', DELAYED, conversation)
redis.call('ZREM', LINED, conversation)
local where = redis.call('HGET', ACTIVE, conversation)
if where == 'line' then
  for _, fairness in ipairs(redis.call('LRANGE', RING, 0, -1)) do
    local line = line_key(fairness)
    if redis.call('LREM', line, 0, conversation) > 0 and redis.call('EXISTS', line) == 0 then
      redis.call('LREM', RING, 1, fairness)
    end
  end
elseif where then
  local entry = string.match(where, '^(%d+%-%d+)')
  if entry then drop_entry(entry) end
end
redis.call('HDEL', ACTIVE, conversation)
return payloads
