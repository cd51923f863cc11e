-- Replaces records of the expected versions; never creates one. Each save is one of its own: what becomes of one says nothing of the others.
-- KEYS: records. ARGV: PUBLISH or SPUBLISH or nothing, channel; for each record: expected version, first 40 bytes of the value, payload,
-- milliseconds to live, message.
-- For each: 0: there is none; 1: stored; 2: stored, and to be filed under its subject; a string: the other version that is stored; or an error.
local call, sub = redis.pcall, string.sub
local publish, channel = ARGV[1], ARGV[2]

local function save(key, expected, head, payload, left, message)
  -- Text, which numbers would be made into each time.
  local stored = call('GETRANGE', key, '0', '71')
  if stored == '' then return 0 end
  if type(stored) == 'table' then return stored end
  if sub(stored, 1, 16) ~= expected then
    if #stored == 72 then
      -- By an earlier try of this call, upon which others may have built since: counters go up by one.
      local nonces = sub(stored, 9, 16) .. sub(stored, 41)
      local since = struct.unpack('>I8', stored) - struct.unpack('>I8', head)
      if since >= 0 and sub(nonces, since * 8 + 1, since * 8 + 8) == sub(head, 9, 16) then return 2 end
    end
    return call('GET', key)
  end
  -- First: a script isn't rolled back, and nothing may be written whose message is refused.
  if publish ~= '' then
    local sent = call(publish, channel, message)
    if type(sent) == 'table' then return sent end
    -- If nobody has subscribed, nobody will before this call is over.
    if sent == 0 then publish = '' end
  end
  local done = call('SET', key, head .. sub(stored, 9, 16) .. sub(stored, 41, 64) .. payload, 'PX', left)
  if done.err then return done end
  return sub(stored, 25, 40) == sub(head, 25, 40) and 1 or 2
end

local answers = {}
for number, key in ipairs(KEYS) do
  local at = number * 5 - 2
  answers[number] = save(key, ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4])
end
return answers
