-- The quick reader: one pass over a body in one of the usual forms, straight to numbers: as native/quick.h. It never
-- refuses: whatever it does not take at sight (a repeated field, an escape in a name, a mistake) is left to the strict
-- parser, which also knows the words for it.
--
-- Every reader returns the place behind what it has read, or nil.
local ffi = require "ffi"
local number = require "edge.lua.number"

local byte, sub = string.byte, string.sub
local quick = {}

local POWERS = ffi.new("double[23]")
for exponent = 0, 22 do POWERS[exponent] = tonumber("1e" .. exponent) end
local EXACT = 2 ^ 53

local function blank(body, at)
  local code = byte(body, at)
  while code == 32 or code == 10 or code == 9 or code == 13 do
    at = at + 1
    code = byte(body, at)
  end
  return at, code
end

local function token(body, at, wanted)
  local code
  at, code = blank(body, at)
  return code == wanted and at + 1 or nil
end

-- A number into values[place]. Few digits and a small power of ten are both doubles, and one operation on them rounds
-- once (W. D. Clinger, "How to read floating point numbers accurately", 1990); the C library reads all others.
local function read_number(body, at, values, place)
  local start, negative, digits, exponent, integer = at, false, 0, 0, true
  local code = byte(body, at)
  if code == 45 then
    negative, at = true, at + 1
    code = byte(body, at)
  end
  local first, zero = at, code == 48
  while code and code >= 48 and code <= 57 do
    digits = digits * 10 + (code - 48)
    at = at + 1
    code = byte(body, at)
  end
  local count = at - first
  if count == 0 or (zero and count > 1) then return nil end
  if code == 46 then
    local point = at + 1
    integer, at = false, point
    code = byte(body, at)
    while code and code >= 48 and code <= 57 do
      digits = digits * 10 + (code - 48)
      at = at + 1
      code = byte(body, at)
    end
    if at == point then return nil end
    exponent = point - at
    count = count + at - point
  end
  if code == 101 or code == 69 then
    local power, minus = 0, false
    integer, at = false, at + 1
    code = byte(body, at)
    if code == 45 or code == 43 then
      minus, at = code == 45, at + 1
      code = byte(body, at)
    end
    local begun = at
    while code and code >= 48 and code <= 57 and at - begun < 4 do
      power = power * 10 + (code - 48)
      at = at + 1
      code = byte(body, at)
    end
    if at == begun or at - begun == 4 then return nil end
    exponent = exponent + (minus and -power or power)
  end
  local value
  if digits == 0 then
    value = (negative and not integer) and -0.0 or 0
  elseif digits < EXACT and exponent >= -22 and exponent <= 22 then
    value = exponent < 0 and digits / POWERS[-exponent] or digits * POWERS[exponent]
    if negative then value = -value end
  else
    value = number.read(sub(body, start, at - 1))
    if value == math.huge or value == -math.huge then return nil end
  end
  values[place] = value
  return at
end

local function list(policy, body, at, values, place, axis)
  at = token(body, at, 91)
  if not at then return nil end
  local size, stride = policy.shape[axis], policy.strides[axis]
  for item = 0, size - 1 do
    if item > 0 then
      at = token(body, at, 44)
      if not at then return nil end
    end
    if axis < #policy.shape then
      at = list(policy, body, at, values, place + item * stride, axis + 1)
    else
      at = read_number(body, blank(body, at), values, place + item)
    end
    if not at then return nil end
  end
  return token(body, at, 93)
end

local function object(policy, body, at, values, place)
  local fields, seen, expected, count = policy.fields, policy.seen, 1, #policy.fields
  at = token(body, at, 123)
  if not at or count == 0 then return nil end
  for field = 1, count do seen[field] = false end
  for number_of = 1, count do
    if number_of > 1 then
      at = token(body, at, 44)
      if not at then return nil end
    end
    at = token(body, at, 34)
    if not at then return nil end
    local field = expected
    local name = fields[field]
    if sub(body, at, at + #name) ~= policy.closed[field] then
      field = nil
      for other = 1, count do
        if sub(body, at, at + #fields[other]) == policy.closed[other] then
          field = other
          break
        end
      end
      if not field then return nil end
    end
    if seen[field] then return nil end
    seen[field] = true
    expected = field < count and field + 1 or 1
    at = token(body, at + #fields[field] + 1, 58)
    if not at then return nil end
    at = read_number(body, blank(body, at), values, place + field - 1)
    if not at then return nil end
  end
  return token(body, at, 125)
end

-- A list of observations, of which `room` fit into `values`: place behind it, and how many they are.
local function many(policy, body, at, values, room)
  local count, next_token, code = 0, token(body, at, 91), nil
  if not next_token then return nil end
  at = next_token
  repeat
    if count == room then return nil end
    at, code = blank(body, at)
    if code == 123 then
      at = object(policy, body, at, values, count * policy.size)
    else
      at = list(policy, body, at, values, count * policy.size, 1)
    end
    if not at then return nil end
    count = count + 1
    next_token = token(body, at, 44)
    if next_token then at = next_token end
  until not next_token
  at = token(body, at, 93)
  return at, count
end

-- How many observations the body holds, with their numbers in `values`, which has room for so many; or nil.
function quick.read(policy, body, only_state, values, room)
  local at, code = blank(body, 1)
  local ended, count
  if code == 123 then
    ended, count = object(policy, body, at, values, 0), 1
    if not ended and not only_state then
      at = blank(body, at + 1)
      if sub(body, at, at + 10) ~= '"instances"' then return nil end
      at = token(body, at + 11, 58)
      if not at then return nil end
      ended, count = many(policy, body, at, values, room)
      ended = ended and token(body, ended, 125)
    end
  elseif code == 91 and not only_state then
    ended, count = list(policy, body, at, values, 0, 1), 1
    if not ended then
      local _, inner = blank(body, at + 1)
      -- Of objects a bare list may not be: they come as instances.
      if inner ~= 91 then return nil end
      ended, count = many(policy, body, at, values, room)
    end
  end
  if not ended then return nil end
  local _, rest = blank(body, ended)
  return rest == nil and count or nil
end

return quick
