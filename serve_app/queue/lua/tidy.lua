-- ARGV: prefix, idle ms. Forgets consumers that have been away that long and own nothing: every process start
-- makes a new one. One with pending entries is kept, since deleting it would lose them.
local forgotten = 0
for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', READY, GROUP)) do
  local fields = {}
  for i = 1, #consumer, 2 do fields[consumer[i]] = consumer[i + 1] end
  if fields['pending'] == 0 and fields['idle'] > tonumber(ARGV[2]) then
    redis.call('XGROUP', 'DELCONSUMER', READY, GROUP, fields['name'])
    forgotten = forgotten + 1
  end
end
return forgotten
