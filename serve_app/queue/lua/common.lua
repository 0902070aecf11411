-- Put in front of every script. KEYS: ready, active, delayed, dead, buried, ring, lined of one shard.
-- ARGV[1]: the shard's key prefix `recado:{name:shard}:`. Keys of single jobs and conversations are made from
-- it here; they carry the same hash tag, so a script never leaves its slot on Redis Cluster.
--
-- `active` tells where a conversation's one token is:
--   'line'         waiting in the line of its fairness key
--   '<entry>'      on the ready stream, not opened yet
--   '<entry> <n>'  opened: the first n jobs of the mailbox are somebody's turn
--   'burst'        in `delayed`, waiting for a burst of messages to end
--   'later'        in `delayed`, waiting for a retry
--
-- Lua doesn't roll back: what is written comes before what is removed.

local READY, ACTIVE, DELAYED, DEAD, BURIED = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local RING, LINED = KEYS[6], KEYS[7]
local PREFIX = ARGV[1]
local RETRIED = PREFIX .. 'retried' -- minute since the epoch: turns that failed in it and come again
local GROUP = 'turns'

local function job_key(id) return PREFIX .. 'job:' .. id end
local function mailbox_key(conversation) return PREFIX .. 'mailbox:' .. conversation end
local function dedupe_key(id) return PREFIX .. 'dedupe:' .. id end
local function line_key(fairness) return PREFIX .. 'line:' .. fairness end

-- Redis' clock in milliseconds, as a number. Concatenate it through `int` only: Lua would write 1.7e+12.
local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function int(number) return string.format('%.0f', number) end

-- Entries of the ready stream that no consumer has been given yet. A group's `lag` is NULL after deletions.
local function undelivered()
  local length = redis.call('XLEN', READY)
  if length == 0 then return 0 end
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', READY)) do
    local fields = {}
    for i = 1, #group, 2 do fields[group[i]] = group[i + 1] end
    if fields['name'] == GROUP then return math.max(0, length - fields['pending']) end
  end
  return length
end

-- While nobody waits a token goes to the ready stream at once, where a blocked reader gets it. Else it goes to
-- the tail of its fairness key's line (by default that of the front job), and `advance` lets it in.
local function make_ready(conversation, fairness)
  if redis.call('EXISTS', RING) == 0 and undelivered() == 0 then
    redis.call('HSET', ACTIVE, conversation, redis.call('XADD', READY, '*', 'c', conversation))
    return
  end
  if not fairness then
    local first = redis.call('LINDEX', mailbox_key(conversation), 0)
    fairness = first and redis.call('HGET', job_key(first), 'f') or ''
  end
  redis.call('ZADD', LINED, int(now_ms()), conversation)
  redis.call('HSET', ACTIVE, conversation, 'line')
  if redis.call('RPUSH', line_key(fairness), conversation) == 1 then
    redis.call('RPUSH', RING, fairness)
  end
end

-- Lets up to `most` tokens out of the lines onto the ready stream, one of each line in turn; returns how many.
-- `at` is since when a token has waited, which its entry no longer tells.
local function advance(most)
  for moved = 0, most - 1 do
    local fairness = redis.call('LINDEX', RING, 0)
    if not fairness then return moved end
    local line = line_key(fairness)
    local conversation = redis.call('LINDEX', line, 0)
    local since = int(tonumber(redis.call('ZSCORE', LINED, conversation)))
    redis.call('HSET', ACTIVE, conversation,
      redis.call('XADD', READY, '*', 'c', conversation, 'at', since))
    redis.call('ZREM', LINED, conversation)
    redis.call('LPOP', line)
    if redis.call('EXISTS', line) == 1 then
      redis.call('LMOVE', RING, RING, 'LEFT', 'RIGHT')
    else
      redis.call('LPOP', RING)
    end
  end
  return most
end

local function park(conversation, due, why)
  redis.call('ZADD', DELAYED, int(due), conversation)
  redis.call('HSET', ACTIVE, conversation, why)
end

local function drop_entry(entry)
  redis.call('XACK', READY, GROUP, entry)
  redis.call('XDEL', READY, entry)
end

local function holds(entry, consumer, deliveries)
  local pending = redis.call('XPENDING', READY, GROUP, entry, entry, 1)[1]
  return pending and pending[2] == consumer and pending[4] == tonumber(deliveries)
end

local STALE = redis.error_reply('STALE the turn belongs to another consumer')

-- Makes the script a writing one by a command that is allowed when memory is full, so that the server lets
-- it finish: settling a turn must not fail for want of memory.
local function start_writing(entry, consumer)
  redis.call('XCLAIM', READY, GROUP, consumer, 0, entry, 'JUSTID')
end

-- When the burst at the front of a mailbox counts as over; 0 if nobody asked to wait.
local function burst_end(mailbox)
  local quiet_at = redis.call('HGET', job_key(redis.call('LINDEX', mailbox, -1)), 'quiet_at')
  local latest = redis.call('HGET', job_key(redis.call('LINDEX', mailbox, 0)), 'latest')
  if not quiet_at or not latest then return 0 end
  return math.min(tonumber(quiet_at), tonumber(latest))
end

-- After the settled jobs left the mailbox: the next turn, at the tail of its line, or rest.
local function go_on(conversation, entry, now)
  local mailbox = mailbox_key(conversation)
  if redis.call('EXISTS', mailbox) == 0 then
    redis.call('HDEL', ACTIVE, conversation)
  else
    local due = burst_end(mailbox)
    if due > now then park(conversation, due, 'burst') else make_ready(conversation) end
  end
  drop_entry(entry)
end

local function remove_job(mailbox, id)
  redis.call('LREM', mailbox, 1, id)
  redis.call('DEL', job_key(id))
end

-- The jobs of the next turn, each {id, payload, trace, published ms, attempts, crashes, history, fairness key}.
-- A job that failed before is taken alone.
local function open_turn(conversation, entry, limit)
  local mailbox = mailbox_key(conversation)
  local jobs = {}
  for _, id in ipairs(redis.call('LRANGE', mailbox, 0, limit - 1)) do
    local job = redis.call('HMGET', job_key(id), 'p', 't', 'at', 'a', 'x', 'h', 'f', 'alone')
    if not job[1] then
      remove_job(mailbox, id) -- its data is gone
    else
      local alone = job[4] or job[5] or job[8]
      if alone and #jobs > 0 then break end
      jobs[#jobs + 1] = { id, job[1], job[2], job[3], job[4], job[5], job[6], job[7] }
      if alone then break end
    end
  end
  if #jobs > 0 then redis.call('HSET', ACTIVE, conversation, entry .. ' ' .. #jobs) end
  return jobs
end

-- History is one JSON object a line. `body` lacks the leading `{"at":…,`, which is Redis' time. Of snoozes in
-- a row only the last is kept, so that waiting doesn't push failures out.
local function add_history(id, body, now, limit, snooze)
  local key = job_key(id)
  local lines = {}
  for line in string.gmatch(redis.call('HGET', key, 'h') or '', '[^\n]+') do lines[#lines + 1] = line end
  if snooze and #lines > 0 and string.find(lines[#lines], '"error_type":"SnoozeError"', 1, true) then
    lines[#lines] = nil
  end
  lines[#lines + 1] = '{"at":' .. string.format('%.3f', now / 1000) .. ',' .. body
  local first = math.max(1, #lines - tonumber(limit) + 1)
  redis.call('HSET', key, 'h', table.concat(lines, '\n', first))
end

-- Counts a retry. What is older than a day is of no use to anybody.
local function count_retry(now)
  local minute = math.floor(now / 60000)
  redis.call('HINCRBY', RETRIED, int(minute), 1)
  if redis.call('HLEN', RETRIED) <= 1500 then return end
  for _, old in ipairs(redis.call('HKEYS', RETRIED)) do
    if tonumber(old) < minute - 1440 then redis.call('HDEL', RETRIED, old) end
  end
end

-- Writes the dead letter and removes the job; returns the letter as XRANGE would.
local function bury_job(id, reason)
  local job = redis.call('HMGET', job_key(id), 'c', 'p', 't', 'at', 'a', 'x', 'h', 'f')
  local fields = {
    'id', id, 'c', job[1] or '', 'p', job[2] or '', 't', job[3] or '{}', 'at', job[4] or '0',
    'a', job[5] or '0', 'x', job[6] or '0', 'h', job[7] or '', 'reason', reason, 'f', job[8] or '',
  }
  local entry = redis.call('XADD', DEAD, '*', unpack(fields))
  redis.call('HSET', BURIED, id, entry)
  remove_job(mailbox_key(job[1] or ''), id)
  return { entry, fields }
end
