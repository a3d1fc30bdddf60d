-- Observations out of parsed JSON, with the words that the handler has for what is wrong: as native/observation.h.
--
-- Each reader returns the values, a list of numbers, and how many observations they are; or nil and the fault.
local json = require "edge.lua.json"

local observation = {}

local KINDS = { number = "a number", boolean = "a boolean" }

local function kind(node)
  if node == json.NULL then return "null" end
  if node == json.TEXT then return "text" end
  return KINDS[type(node)] or (node.kind == "list" and "a list" or "an object")
end

local function is(node, wanted)
  return type(node) == "table" and node.kind == wanted
end

local function strange(node)
  return nil, kind(node) .. " stands where a number must"
end

-- Unknown names, sorted, shortened as handlers/rows.py does; nil without any.
local function unknown(object, known)
  local names = {}
  for name in pairs(object.values) do
    if not known[name] then names[#names + 1] = name end
  end
  if #names == 0 then return nil end
  table.sort(names)
  local told = {}
  for at = 1, math.min(#names, 5) do told[at] = json.shortened(names[at], 40) end
  return table.concat(told, ", ") .. (#names > 5 and ", ..." or "")
end

-- Nested lists of numbers, opened level by level: leaves, shape, number of dimensions.
local function read_array(list, most)
  local level, count, shape, dimensions = list, list.count, { list.count }, 1
  while count > 0 and is(level[1], "list") do
    local inner, opened, next = level[1].count, {}, 0
    if dimensions == most then return nil, "lists are nested deeper than " .. most end
    for at = 1, count do
      if not is(level[at], "list") or level[at].count ~= inner then
        return nil, "lists beside each other must have the same length"
      end
    end
    dimensions = dimensions + 1
    shape[dimensions] = inner
    for at = 1, count do
      for place = 1, inner do
        next = next + 1
        opened[next] = level[at][place]
      end
    end
    level, count = opened, next
  end
  for at = 1, count do
    if type(level[at]) ~= "number" then return strange(level[at]) end
  end
  return level, shape, dimensions
end

-- Whether the last dimensions of an array are those of one observation.
local function fits(policy, shape, dimensions)
  local many = dimensions - #policy.shape
  if many < 0 or many > 1 then return false end
  for axis, size in ipairs(policy.shape) do
    if shape[many + axis] ~= size then return false end
  end
  return many == 0 or shape[1] > 0
end

local function named(policy, object)
  local fields = policy.fields
  if #fields == 0 then return nil, "this policy has no named fields; send an array" end
  local missing, values = {}, {}
  for _, field in ipairs(fields) do
    if object.values[field] == nil then missing[#missing + 1] = field end
  end
  if #missing > 0 then return nil, "missing field: " .. table.concat(missing, ", ") end
  local names = unknown(object, policy.known)
  if names then return nil, "unknown field: " .. names .. "; the fields are " .. table.concat(fields, ", ") end
  for at, field in ipairs(fields) do
    local value = object.values[field]
    if type(value) ~= "number" then
      local _, fault = strange(value)
      return nil, field .. ": " .. (is(value, "list") and "lists are nested deeper than 1" or fault)
    end
    values[at] = value
  end
  return values
end

local function one(policy, item)
  if is(item, "object") then return named(policy, item) end
  if not is(item, "list") then return nil, "an observation must be an array or an object of named fields" end
  local leaves, shape, dimensions = read_array(item, #policy.shape)
  if not leaves then return nil, shape end
  if dimensions ~= #policy.shape or not fits(policy, shape, dimensions) then return nil, policy.shape_words end
  return leaves
end

-- What the handler reads beside observations: this program draws no actions and knows no masks.
local function options(object)
  local given = object.values
  if given.deterministic == nil and given.seed == nil and given.action_masks == nil then return nil end
  return "the edge answers deterministically and without masks; send deterministic, seed and action_masks to the gateway"
end

local function instances(policy, object)
  local fault = options(object)
  if fault then return nil, fault end
  local names = unknown(object, { instances = true })
  if names then return nil, "unknown field beside instances: " .. names end
  local items = object.values.instances
  if not is(items, "list") or items.count == 0 then return nil, "instances must be a list that is not empty" end
  local values, count = {}, 0
  for number = 1, items.count do
    local found, fault = one(policy, items[number])
    if not found then return nil, "instances[" .. number - 1 .. "]: " .. fault end
    for at = 1, policy.size do
      count = count + 1
      values[count] = found[at]
    end
  end
  return values, items.count
end

-- {"observation": ...}: one, of any form.
local function enveloped(policy, object)
  local fault = options(object)
  if fault then return nil, fault end
  local names = unknown(object, { observation = true })
  if names then return nil, "unknown field beside observation: " .. names end
  return one(policy, object.values.observation)
end

-- The observations of one parsed request.
function observation.read(policy, payload)
  if is(payload, "object") then
    if payload.values.instances ~= nil then return instances(policy, payload) end
    local is_enveloped = payload.values.observation ~= nil and not policy.known.observation
    local values, fault = (is_enveloped and enveloped or named)(policy, payload)
    return values, values and 1 or fault
  end
  if not is(payload, "list") then return nil, "a state is an object of named fields or an array" end
  local leaves, shape, dimensions = read_array(payload, #policy.shape + 1)
  if not leaves then return nil, shape end
  if not fits(policy, shape, dimensions) then return nil, policy.shape_words end
  return leaves, dimensions == #policy.shape and 1 or shape[1]
end

-- Whether a body is one state of named fields, as the short route wants it.
function observation.is_state(payload)
  return is(payload, "object") and payload.values.instances == nil
end

return observation
