-- Answers bodies from standard input without nginx, in the frames of native/harness.c: for tests and the parity gate.
-- Arguments: the folder above `edge`, and that of the policy.
package.path = arg[1] .. "/?.lua;" .. package.path
local ffi = require "ffi"
local answer = require "edge.lua.answer"
local policies = require "edge.lua.policy"

local policy = policies.load(arg[2])
local head = ffi.new("uint32_t[2]")
while true do
  local read = io.read(8)
  if not read then break end
  ffi.copy(head, read, 8)
  local form, size = head[0], head[1]
  local body = size > 0 and io.read(size) or ""
  local status, text = answer.to(policy, body, form == 1 and "state" or "any", "id")
  head[0], head[1] = status, #text
  io.write(ffi.string(head, 8), text)
end
