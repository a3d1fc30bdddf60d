-- The network: float32 between its layers as in the handler, float64 within a layer.
local ffi = require "ffi"
local number = require "edge.lua.number"

local single = number.single
local exp, log, tanh, abs, max, min = math.exp, math.log, math.tanh, math.abs, math.max, math.min
local LANES = 8
local network = {}

-- The activations of torch.nn. Each stays within 1e-6 of the exact value, relative to it where that is above 1.
local ACTIVATIONS = {}
network.activations = ACTIVATIONS

function ACTIVATIONS.Sigmoid(x)
  local e = exp(-abs(x))
  return x < 0 and e / (1 + e) or 1 / (1 + e)
end
function ACTIVATIONS.Softplus(x) return max(x, 0) + log(1 + exp(-abs(x))) end
function ACTIVATIONS.LogSigmoid(x) return -ACTIVATIONS.Softplus(-x) end
function ACTIVATIONS.SiLU(x) return x * ACTIVATIONS.Sigmoid(x) end
function ACTIVATIONS.Tanh(x) return tanh(x) end
function ACTIVATIONS.Mish(x) return x * tanh(ACTIVATIONS.Softplus(x)) end
function ACTIVATIONS.Tanhshrink(x) return x - tanh(x) end
function ACTIVATIONS.Softsign(x) return x / (1 + abs(x)) end
function ACTIVATIONS.Identity(x) return x end
function ACTIVATIONS.ReLU(x) return x < 0 and 0 or x end
function ACTIVATIONS.ReLU6(x) return x < 0 and 0 or x > 6 and 6 or x end
function ACTIVATIONS.LeakyReLU(x) return x < 0 and x * 0.01 or x end
function ACTIVATIONS.Hardtanh(x) return x < -1 and -1 or x > 1 and 1 or x end
function ACTIVATIONS.Hardsigmoid(x) return ACTIVATIONS.ReLU6(x + 3) / 6 end
function ACTIVATIONS.Hardswish(x) return x * ACTIVATIONS.Hardsigmoid(x) end
function ACTIVATIONS.ELU(x) return x < 0 and exp(x) - 1 or x end
function ACTIVATIONS.CELU(x) return x < 0 and exp(x) - 1 or x end
function ACTIVATIONS.SELU(x) return 1.0507009873554805 * (x < 0 and 1.6732632423543772 * (exp(x) - 1) or x) end

-- x times the normal distribution's share below it: erfc after Abramowitz and Stegun, 7.1.26, within 1.5e-7.
function ACTIVATIONS.GELU(x)
  local z = abs(x) * 0.70710678118654752
  local t = 1 / (1 + 0.3275911 * z)
  local p = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t
  local rest = 0.5 * p * exp(-z * z)
  return x * (x < 0 and rest or 1 - rest)
end

-- weight [blocks][inputs][8], bias and target [blocks][8]; eight sums at a time, which do not wait for each other.
local function linear(source, target, weight, bias, inputs, blocks)
  local at = 0
  for first = 0, (blocks - 1) * LANES, LANES do
    local a, b, c, d = bias[first], bias[first + 1], bias[first + 2], bias[first + 3]
    local e, f, g, h = bias[first + 4], bias[first + 5], bias[first + 6], bias[first + 7]
    for from = 0, inputs - 1 do
      local x = source[from]
      a, b = a + weight[at] * x, b + weight[at + 1] * x
      c, d = c + weight[at + 2] * x, d + weight[at + 3] * x
      e, f = e + weight[at + 4] * x, f + weight[at + 5] * x
      g, h = g + weight[at + 6] * x, h + weight[at + 7] * x
      at = at + LANES
    end
    target[first], target[first + 1], target[first + 2], target[first + 3] = a, b, c, d
    target[first + 4], target[first + 5], target[first + 6], target[first + 7] = e, f, g, h
  end
end

local function apply(activation, values, count)
  for at = 0, count - 1 do values[at] = activation(values[at]) end
end

local function encoder(policy)
  local size, scale, sizes = policy.size, policy.scale, policy.one_hot
  if not sizes then
    return function(observation, features)
      for at = 0, size - 1 do features[at] = observation[at] / scale end
    end
  end
  return function(observation, features)
    local start = 0
    for place = 1, #sizes do
      for code = 0, sizes[place] - 1 do features[start + code] = observation[place - 1] == code and 1 or 0 end
      start = start + sizes[place]
    end
  end
end

local function head(policy)
  local outputs, limit = policy.outputs, policy.limit
  local low, high = policy.action_low, policy.action_high
  if not low then return function() end end
  return function(values)
    for at = 0, outputs - 1 do
      local mean = values[at]
      if limit and mean == mean then mean = min(max(mean, -limit), limit) end
      if policy.squash then
        -- Rounded at each step as the handler does: a wide space makes a unit in the last place of tanh visible.
        local share = single(single(tanh(mean)) + 1) * 0.5
        mean = low[at] + single(share * single(high[at] - low[at]))
      elseif mean < low[at] then
        mean = low[at]
      elseif mean > high[at] then
        mean = high[at]
      end
      values[at] = mean
    end
  end
end

-- The function observation → its outputs, both float32; what it returns is overwritten by the next call.
function network.of(policy)
  local layers, activation = policy.layers, ACTIVATIONS[policy.activation]
  local widest = 0
  for _, layer in ipairs(layers) do widest = max(widest, layer.blocks * LANES) end
  local features = ffi.new("float[?]", layers[1].inputs)
  local even, odd = ffi.new("float[?]", widest), ffi.new("float[?]", widest)
  local encode, finish, last = encoder(policy), head(policy), #layers
  return function(observation)
    encode(observation, features)
    local source, target = features, even
    for place = 1, last do
      local layer = layers[place]
      linear(source, target, layer.weight, layer.bias, layer.inputs, layer.blocks)
      if place < last and policy.activation ~= "Identity" then apply(activation, target, layer.outputs) end
      source, target = target, target == even and odd or even
    end
    finish(source)
    return source
  end
end

return network
