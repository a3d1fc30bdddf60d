-- A request's body to its answer: read, checked against the space, through the network, worded: as native/answer.h.
local ffi = require "ffi"
local json = require "edge.lua.json"
local number = require "edge.lua.number"
local observation = require "edge.lua.observation"
local quick = require "edge.lua.quick"

local concat, floor = table.concat, math.floor
local answer = {}

function answer.error(code, detail, id)
  return '{"error":"' .. code .. '","detail":' .. json.quote(detail) .. ',"request_id":' .. json.quote(id) .. "}"
end

local function outside(policy, values, place, count)
  local inner = place % policy.size
  local where = count > 1 and "instances[" .. floor(place / policy.size) .. "]: " or ""
  if #policy.fields > 0 then
    where = where .. policy.fields[inner + 1]
  else
    local at = {}
    for axis, stride in ipairs(policy.strides) do at[axis] = floor(inner / stride) % policy.shape[axis] end
    where = where .. "observation[" .. concat(at, ", ") .. "]"
  end
  local low, high = policy.low[inner], policy.high[inner]
  local word = number.format
  return where .. " is " .. word("%.6g", values[place]) .. ", outside of " .. word("%.6g", low) .. " to " .. word("%.6g", high)
end

-- One observation into `policy.input`; nil, or the place of the first number outside of the space.
local function into_space(policy, values, start)
  local low, high, input = policy.low, policy.high, policy.input
  local clip, single = policy.clip, policy.float_bits == 32
  for at = 0, policy.size - 1 do
    local value = values[start + at]
    -- Compared in the space's own type, in which its bounds are kept.
    if single then value = number.single(value) end
    if clip then value = value < low[at] and low[at] or value > high[at] and high[at] or value end
    if not (value >= low[at] and value <= high[at] and value - value == 0) then return start + at end
    input[at] = value
  end
  return nil
end

local function whole(policy, values, count)
  if policy.float_bits ~= 0 then return true end
  for at = 0, count * policy.size - 1 do
    if floor(values[at]) ~= values[at] then return false end
  end
  return true
end

local function is_finite(output, count)
  for at = 0, count - 1 do
    if output[at] - output[at] ~= 0 then return false end
  end
  return true
end

local function argmax(output, first, count)
  local best = first
  for at = first + 1, first + count - 1 do
    if output[at] > output[best] then best = at end
  end
  return best - first
end

local ACTIONS = {}

function ACTIONS.discrete(policy, output)
  return argmax(output, 0, policy.outputs) + policy.start
end

function ACTIONS.multi_discrete(policy, output)
  local chosen, first = {}, 0
  for place, size in ipairs(policy.nvec) do
    chosen[place] = argmax(output, first, size)
    first = first + size
  end
  return "[" .. concat(chosen, ",") .. "]"
end

function ACTIONS.multi_binary(policy, output)
  local chosen = {}
  for at = 0, policy.outputs - 1 do chosen[at + 1] = output[at] > 0 and 1 or 0 end
  return "[" .. concat(chosen, ",") .. "]"
end

function ACTIONS.continuous(policy, output, python)
  local words = {}
  for at = 0, policy.outputs - 1 do
    local before, behind, inside = at > 0 and "," or "", "", 1
    for axis = #policy.action_shape, 1, -1 do
      inside = inside * policy.action_shape[axis]
      if at % inside == 0 then before = before .. "[" end
      if (at + 1) % inside == 0 then behind = behind .. "]" end
    end
    words[at + 1] = before .. number.word(output[at], python) .. behind
  end
  return concat(words)
end

-- The numbers of a strictly parsed body: their count, or nil, status, code and detail.
local function strict(policy, body, form)
  local payload, fault, place = json.parse(body)
  if payload == nil then
    return nil, 400, "unreadable_input", "the body is not valid JSON: " .. fault .. " (at " .. place .. ")"
  end
  if form == "state" and not observation.is_state(payload) then
    return nil, 422, "invalid_fields", "the body must be one state: an object of named fields"
  end
  local found, count = observation.read(policy, payload)
  if not found then return nil, 422, "invalid_fields", count end
  answer.make_room(policy, count)
  for at = 1, count * policy.size do policy.values[at - 1] = found[at] end
  return count
end

function answer.make_room(policy, room)
  if room <= policy.room then return end
  policy.room = room
  policy.values = ffi.new("double[?]", room * policy.size)
end

-- Status and body for a body that is JSON by its content type; `form` is "any" or "state", `id` is told in errors.
function answer.to(policy, body, form, id)
  -- A number and what parts it from the next take two bytes.
  answer.make_room(policy, floor(#body / (2 * policy.size)) + 1)
  local count, status, code, detail = quick.read(policy, body, form == "state", policy.values, policy.room), nil, nil, nil
  if not count then
    count, status, code, detail = strict(policy, body, form)
    if not count then return status, answer.error(code, detail, id) end
  end
  local values, worded, finite = policy.values, ACTIONS[policy.action], true
  if not whole(policy, values, count) then
    return 422, answer.error("invalid_fields", "the observation must hold whole numbers", id)
  end
  local python, items = form == "any", {}
  for place = 0, count - 1 do
    local beyond = into_space(policy, values, place * policy.size)
    if beyond then return 422, answer.error("invalid_fields", outside(policy, values, beyond, count), id) end
    local output = policy.forward(policy.input)
    finite = finite and is_finite(output, policy.outputs)
    -- A later number outside of the space is the client's to know first.
    if finite then items[place + 1] = '{"action":' .. worded(policy, output, python) .. "}" end
  end
  if not finite then
    return 500, answer.error("internal", "model " .. policy.model .. " failed on this request", id)
  end
  local text = count == 1 and items[1] or concat(items, ",")
  return 200, python and policy.head .. text .. policy.tail or text
end

return answer
