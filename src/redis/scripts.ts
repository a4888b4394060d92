/**
 * What is done in Redis, each in one step. All state of a lock is in keys of one hash slot:
 *
 * - `hold`: the holder, as redlock has it: a string that expires. `readers` where readers hold.
 * - `queue`: all requests, holders too, in the order of their coming; `alive`: until when each is known to live.
 * - `info`: what each says of itself; `granted`: the tokens of those that hold; `token`: the last one.
 * - `server`: in a cluster, the `run_id` of the server that was seen last, and since when.
 *
 * A free lock needs none of the queue: `hold` alone says it all, `ID TOKEN DESCRIPTION`. Whichever script comes next, but
 * for the release, puts that holder into the queue first, so that all others know one shape.
 *
 * A request that is not renewed in time is dropped by whichever script comes next: its holder has said by then that the
 * lock is lost (after two thirds of the time). A request is granted by the script that makes room for it, which tells its
 * process by a message: one for each grant. Ids are `w:PROCESS:N`, of readers `r:PROCESS:N`.
 */

const START = `
local hold, queue, alive, info, granted, last, server = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7]
local ttl, permits = tonumber(ARGV[2]), tonumber(ARGV[3])
local WEEK = 604800000
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- Greater than all before, and after a failover that lost the last ones too, by the clock.
local function nextToken()
  local token = math.max(tonumber(redis.call('GET', last) or '0') + 1, now)
  return string.format('%.0f', token)
end

-- Until when nothing may be granted: a server may have lost the last writes, or all of them. A client of one server asks
-- it once for each connection; in a cluster it is looked at here, since no client is told which server answers.
local grace = tonumber(ARGV[4]) -- or 'ask'
local function graceUntil()
  if grace then return grace end
  local about = redis.call('INFO', 'server')
  local run = string.match(about, 'run_id:(%w+)')
  local known, since = string.match(redis.call('GET', server) or '', '^(%S+) (%d+)$')
  if known ~= run then
    local memory = redis.call('INFO', 'memory')
    local policy = string.match(memory, 'maxmemory_policy:(%S+)')
    if policy ~= 'noeviction' and string.match(memory, 'maxmemory:(%d+)') ~= '0' then error('UNFIT ' .. policy) end
    local uptime = string.match(about, 'uptime_in_seconds:(%d+)') * 1000
    since = string.format('%.0f', known and now or now - uptime)
    redis.call('SET', server, run .. ' ' .. since, 'PX', WEEK)
  end
  grace = since + ttl
  return grace
end
`;

/** The id, token and description of a holder that is not in the queue, since it came when the lock was free; or nil. */
const ALONE = "string.match(redis.call('GET', hold) or '', '^(w:%S+) (%d+) (.*)$')";

const COMMON = `
local prefix = ARGV[1]
local blocked = 0
local asking -- whose process gets the answer of this script, and needs no message

local function isReader(id) return string.sub(id, 1, 2) == 'r:' end

local function tell(id, token)
  redis.call('PUBLISH', prefix .. '%wake:' .. string.match(id, '^%a:([^:]+):'), id .. ' ' .. token)
end

local function drop(id)
  redis.call('ZREM', queue, id)
  redis.call('ZREM', alive, id)
  redis.call('HDEL', info, id)
  redis.call('HDEL', granted, id)
  if redis.call('GET', hold) == id then redis.call('DEL', hold) end
end

local function grant(id)
  local token = nextToken()
  redis.call('SET', last, token, 'PX', WEEK)
  redis.call('HSET', granted, id, token)
  if id ~= asking then tell(id, token) end
end

local function enqueue(id, description, left)
  local behind = redis.call('ZRANGE', queue, -1, -1, 'WITHSCORES')[2] or 0
  redis.call('ZADD', queue, behind + 1, id)
  redis.call('ZADD', alive, now + left, id)
  redis.call('HSET', info, id, description)
end

local function enqueueHolder()
  local id, token, description = ${ALONE}
  if not id then return end
  local left = math.max(1, redis.call('PTTL', hold))
  enqueue(id, description, left)
  redis.call('HSET', granted, id, token)
  redis.call('SET', hold, id, 'PX', left)
end

-- Until when the holders of the head live, for programs that know only \`hold\`.
local function markHold(value, id)
  local left = tonumber(redis.call('ZSCORE', alive, id)) - now
  if redis.call('GET', hold) == value and redis.call('PTTL', hold) >= left then return end
  redis.call('SET', hold, value, 'PX', left)
end

-- Whether another program (redlock) holds it.
local function isForeign()
  local value = redis.call('GET', hold)
  return value and value ~= 'readers' and not redis.call('ZSCORE', queue, value)
end

local function serve()
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', alive, '-inf', now)) do drop(id) end
  local head = redis.call('ZRANGE', queue, 0, 0)[1]
  if not head then
    if redis.call('GET', hold) == 'readers' then redis.call('DEL', hold) end
    return
  end
  blocked = math.max(0, graceUntil() - now)
  if permits == 0 and blocked == 0 and isForeign() then blocked = math.max(1, redis.call('PTTL', hold)) end
  if blocked > 0 then
    if redis.call('HEXISTS', granted, head) == 0 and head ~= asking then tell(head, 0) end
    return
  end
  if permits > 0 then
    for _, id in ipairs(redis.call('ZRANGE', queue, 0, permits - 1)) do
      if redis.call('HEXISTS', granted, id) == 0 then grant(id) end
    end
  elseif isReader(head) then
    local last = head
    for _, id in ipairs(redis.call('ZRANGE', queue, 0, -1)) do
      if not isReader(id) then break end
      if redis.call('HEXISTS', granted, id) == 0 then grant(id) end
      last = id
    end
    markHold('readers', last)
  else
    if redis.call('HEXISTS', granted, head) == 0 then grant(head) end
    markHold(head, head)
  end
end

local function keep()
  for _, key in ipairs({ queue, alive, info, granted }) do
    if redis.call('PTTL', key) < 1.5 * ttl then redis.call('PEXPIRE', key, 2 * ttl) end
  end
end
`;

/** ARGV: …, id, description, 1 if it is not to wait. Its token, 0: it waits, -1: it is not free; and for how long nothing
 * but time can change that it waits. */
export const ENTER = `${START}
local id, description, ifFree = ARGV[5], ARGV[6], ARGV[7] == '1'
if permits == 0 and string.sub(id, 1, 2) == 'w:' and redis.call('EXISTS', queue) == 0 and graceUntil() <= now then
  local token = nextToken()
  if redis.call('SET', hold, id .. ' ' .. token .. ' ' .. description, 'NX', 'PX', ttl) then
    redis.call('SET', last, token, 'PX', WEEK)
    return { token, '0' }
  end
end
${COMMON}
asking = id
enqueueHolder()
if not redis.call('ZSCORE', queue, id) then
  enqueue(id, description, ttl)
  serve()
end
keep()
local token = redis.call('HGET', granted, id)
if ifFree and not token then
  drop(id)
  return { '-1', '0' }
end
return { token or '0', string.format('%.0f', blocked) }
`;

/** ARGV: …, id. Gives it up, and serves those behind. */
export const LEAVE = `
local id, value = ARGV[5], redis.call('GET', KEYS[1])
if value and string.sub(value, 1, #id + 1) == id .. ' ' then return redis.call('DEL', KEYS[1]) end
${START}
${COMMON}
drop(id)
serve()
return 1
`;

/** ARGV: …, ids. For each its token, 0: it waits, -1: it is gone. And, last, for how long nothing but time can change. */
export const RENEW = `${START}${COMMON}
-- A server that is out of memory refuses what may need more, unless the script has written before: a holder is to keep
-- its lock then. This removes nothing.
redis.call('ZREM', alive, '')
enqueueHolder()
for i = 5, #ARGV do
  if redis.call('ZSCORE', queue, ARGV[i]) then redis.call('ZADD', alive, now + ttl, ARGV[i]) end
end
serve()
local states = {}
for i = 5, #ARGV do
  local isThere = redis.call('ZSCORE', queue, ARGV[i])
  states[#states + 1] = isThere and (redis.call('HGET', granted, ARGV[i]) or '0') or '-1'
end
keep()
states[#states + 1] = string.format('%.0f', blocked)
return states
`;

/** All requests in order: id, description, token or an empty text. It changes nothing. */
export const LOOK = `${START}
local id, token, description = ${ALONE}
local found = id and { id, description, token } or {}
for _, one in ipairs(redis.call('ZRANGE', queue, 0, -1)) do
  if tonumber(redis.call('ZSCORE', alive, one) or '0') > now then
    found[#found + 1] = one
    found[#found + 1] = redis.call('HGET', info, one) or ''
    found[#found + 1] = redis.call('HGET', granted, one) or ''
  end
end
return found
`;

/**
 * KEYS: one for each server. ARGV: its run_id, how many ms it runs, the time to live. Until when nothing may be granted:
 * another server than before may have lost the last writes, and one that has just begun all of them.
 */
export const SERVER = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local known = redis.call('GET', KEYS[1])
local since
if not known then since = now - tonumber(ARGV[2])
else
  local run, text = string.match(known, '^(%S+) (%S+)$')
  since = run == ARGV[1] and tonumber(text) or now
end
redis.call('SET', KEYS[1], ARGV[1] .. ' ' .. string.format('%.0f', since))
return string.format('%.0f', since + tonumber(ARGV[3]))
`;
