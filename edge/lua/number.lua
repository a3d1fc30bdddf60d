-- Decimal text to the nearest double, and float32 to the shortest decimal text that gives it back: as native/number.h.
local ffi = require "ffi"

ffi.cdef [[
double edge_strtod(const char *text, char **end) __asm__("strtod");
float edge_strtof(const char *text, char **end) __asm__("strtof");
int edge_snprintf(char *text, size_t size, const char *format, ...) __asm__("snprintf");
]]

local C, byte, format, sub = ffi.C, string.byte, string.format, string.sub
local number = {}

-- A whole JSON number of any length; infinite where it is too large.
function number.read(text)
  return C.edge_strtod(text, nil)
end

-- As C words it, and Python: LuaJIT's own `format` rounds a tie away from zero.
local room = ffi.new("char[64]")
function number.format(pattern, value)
  C.edge_snprintf(room, 64, pattern, ffi.cast("double", value))
  return ffi.string(room)
end

-- Rounds to the nearest float32.
local cell = ffi.new("float[1]")
function number.single(value)
  cell[0] = value
  return cell[0]
end

local function significand_is_half(value)
  local part = math.frexp(value)
  return part == 0.5
end

-- Whether some decimal of so many digits reads back as `value`, and that decimal. Below a power of two floats lie twice
-- as dense as above, so there the nearest decimal may fail where the next larger one reads back.
local function reads_back(value, precision)
  local text = number.format("%." .. precision - 1 .. "e", value)
  if C.edge_strtof(text, nil) == value then return text end
  if not significand_is_half(value) then return nil end
  local last = string.find(text, "e", 1, true) - 1
  local digit = byte(text, last)
  if digit == 57 or digit == 46 then return nil end
  text = sub(text, 1, last - 1) .. string.char(digit + 1) .. sub(text, last + 1)
  return C.edge_strtof(text, nil) == value and text or nil
end

-- The shortest digits that read back as this positive float32, and the exponent of the first.
local function shortest(value)
  local text = number.format("%.8e", value) -- nine digits tell any two floats apart
  for precision = 8, 1, -1 do
    local shorter = reads_back(value, precision)
    if not shorter then break end
    text = shorter
  end
  local digits, exponent = text:match("^(.-)e(.+)$")
  return (digits:gsub("%.", "")), tonumber(exponent)
end

-- A finite float32 as the handler words it (Python's json), or as the gateway words what it has parsed (orjson).
function number.word(value, python)
  if value == 0 then return 1 / value < 0 and "-0.0" or "0.0" end
  local sign = value < 0 and "-" or ""
  local digits, exponent = shortest(math.abs(value))
  local count = #digits
  if exponent >= 16 or exponent < (python and -4 or -5) then
    local point = count > 1 and "." or ""
    return sign .. sub(digits, 1, 1) .. point .. sub(digits, 2) .. format(python and "e%+03d" or "e%+d", exponent)
  elseif exponent < 0 then
    return sign .. "0." .. string.rep("0", -1 - exponent) .. digits
  elseif count <= exponent + 1 then
    return sign .. digits .. string.rep("0", exponent + 1 - count) .. ".0"
  end
  return sign .. sub(digits, 1, exponent + 1) .. "." .. sub(digits, exponent + 2)
end

return number
