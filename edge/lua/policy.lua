-- A policy out of its folder: `policy.lua` describes it, `numbers.f64` holds, as doubles in native order, the bounds of
-- the observation, those of a continuous action, and weight and bias of each layer.
local ffi = require "ffi"
local network = require "edge.lua.network"

local loader = {}

local function read(path)
  local file = assert(io.open(path, "rb"))
  local content = file:read("*a")
  file:close()
  local numbers = ffi.new("double[?]", #content / 8)
  ffi.copy(numbers, content, #content)
  return numbers, #content / 8
end

-- Raises an error for a folder that is not whole.
function loader.load(folder)
  local policy = assert(loadfile(folder .. "/policy.lua"))()
  local numbers, total = read(folder .. "/numbers.f64")
  local at = 0
  local function take(count)
    local part = ffi.new("double[?]", count)
    assert(at + count <= total, "numbers.f64 is too short")
    ffi.copy(part, numbers + at, count * 8)
    at = at + count
    return part
  end
  policy.low, policy.high = take(policy.size), take(policy.size)
  if policy.action == "continuous" then
    policy.action_low, policy.action_high = take(policy.outputs), take(policy.outputs)
  end
  for _, layer in ipairs(policy.layers) do
    layer.blocks = math.ceil(layer.outputs / 8)
    layer.weight, layer.bias = take(layer.blocks * layer.inputs * 8), take(layer.blocks * 8)
  end
  assert(at == total, "numbers.f64 is too long")
  policy.known, policy.closed, policy.seen, policy.strides = {}, {}, {}, {}
  for place, field in ipairs(policy.fields) do
    policy.known[field], policy.closed[place], policy.seen[place] = true, field .. '"', false
  end
  local stride = policy.size
  for axis, size in ipairs(policy.shape) do
    stride = stride / size
    policy.strides[axis] = stride
  end
  policy.forward = network.of(policy)
  policy.input = ffi.new("float[?]", policy.size)
  policy.room = 64 -- observations that `values` has room for
  policy.values = ffi.new("double[?]", policy.room * policy.size)
  return policy
end

return loader
