-- A strict JSON parser for what the quick reader gives up on: as native/json.h, it words and places errors as orjson
-- does, and of a key that stands twice the last one counts.
--
-- number → number, true and false → themselves, null → json.NULL, text → json.TEXT (no answer depends on its letters),
-- list → {kind = "list", count = n, ...}, object → {kind = "object", values = {key = value}}
local number = require "edge.lua.number"

local byte, char, find, gsub, sub = string.byte, string.char, string.find, string.gsub, string.sub
local DEPTH = 1024
local json = { NULL = {}, TEXT = {} }

local ESCAPES = { [34] = '"', [92] = "\\", [47] = "/", [98] = "\b", [102] = "\f", [110] = "\n", [114] = "\r",
                  [116] = "\t" }

-- `place` counts from 1 and is one behind the text where that ends too early.
local function fail(parser, place, fault)
  if place > parser.size then place, fault = parser.size + 1, "unexpected end of data" end
  error({ fault = fault, place = place }, 0)
end

local function skip(parser)
  local text, at = parser.text, parser.at
  local code = byte(text, at)
  while code == 32 or code == 9 or code == 10 or code == 13 do
    at = at + 1
    code = byte(text, at)
  end
  parser.at = at
  return code
end

local function is_digit(code)
  return code ~= nil and code >= 48 and code <= 57
end

local function hex(parser, at)
  local digits = sub(parser.text, at, at + 3)
  return #digits == 4 and not find(digits, "[^0-9a-fA-F]") and tonumber(digits, 16) or nil
end

-- An escape that the end of the body cuts off is told as such, and only where all of it that is there is right.
local function bad_escape(parser, escape)
  local rest = sub(parser.text, escape)
  local cut = #rest == 1 or (#rest <= 5 and find(rest, "^\\u[0-9a-fA-F]*$") ~= nil)
  fail(parser, cut and parser.size + 1 or escape, "invalid escaped sequence in string")
end

local function utf8(code)
  local low = char(128 + code % 64)
  if code < 0x80 then return char(code) end
  if code < 0x800 then return char(192 + math.floor(code / 64)) .. low end
  local middle = char(128 + math.floor(code / 64) % 64)
  if code < 0x10000 then return char(224 + math.floor(code / 4096)) .. middle .. low end
  return char(240 + math.floor(code / 262144), 128 + math.floor(code / 4096) % 64) .. middle .. low
end

-- `\uXXXX` at `escape`, with its second half where it is a surrogate; moves `at` behind it.
local function read_unicode(parser, escape)
  local code = hex(parser, escape + 2)
  if not code then bad_escape(parser, escape) end
  parser.at = escape + 6
  if code < 0xd800 or code > 0xdfff then return code end
  if code >= 0xdc00 then fail(parser, escape, "invalid high surrogate in string") end
  local second, ending = parser.at, parser.size + 1
  local left = ending - second
  local first, kind = byte(parser.text, second, second + 1)
  if left < 2 and (left == 0 or first == 92) then fail(parser, ending, "") end
  if first ~= 92 or kind ~= 117 then fail(parser, escape, "no low surrogate in string") end
  if left == 2 then fail(parser, ending, "") end
  local low = hex(parser, second + 2)
  if not low then fail(parser, escape, "invalid escape in string") end
  if low < 0xdc00 or low > 0xdfff then fail(parser, escape, "invalid low surrogate in string") end
  parser.at = second + 6
  return 0x10000 + (code - 0xd800) * 1024 + (low - 0xdc00)
end

-- The string whose opening quote `at` is on.
local function read_string(parser)
  local text, parts, count = parser.text, {}, 0
  parser.at = parser.at + 1
  while true do
    local place = find(text, '[%c"\\]', parser.at) or parser.size + 1
    local code = byte(text, place)
    count = count + 1
    parts[count] = sub(text, parser.at, place - 1)
    parser.at = place
    if code == nil then fail(parser, place, "") end
    if code == 34 then break end
    count = count + 1
    if code == 127 then -- a control character to Lua, not to JSON
      parts[count] = "\127"
      parser.at = place + 1
    elseif code ~= 92 then
      fail(parser, place, "unexpected control character in string")
    else
      local kind = byte(text, place + 1)
      if kind == 117 then
        parts[count] = utf8(read_unicode(parser, place))
      elseif ESCAPES[kind or 0] then
        parts[count] = ESCAPES[kind]
        parser.at = place + 2
      else
        bad_escape(parser, place)
      end
    end
  end
  parser.at = parser.at + 1
  return table.concat(parts)
end

local function read_number(parser)
  local text, start = parser.text, parser.at
  local at, whole, integer = start, start, true
  local function digits(fault)
    if not is_digit(byte(text, at)) then fail(parser, at, fault) end
    while is_digit(byte(text, at)) do at = at + 1 end
  end
  if byte(text, at) == 45 then at = at + 1 end
  whole = at
  if byte(text, at) == 48 and is_digit(byte(text, at + 1)) then
    fail(parser, at, "number with leading zero is not allowed")
  end
  digits("no digit after sign")
  local digit_count = at - whole
  if byte(text, at) == 46 then
    integer, at = false, at + 1
    digits("no digit after decimal point")
  end
  local code = byte(text, at)
  if code == 69 or code == 101 then
    integer, at = false, at + 1
    code = byte(text, at)
    if code == 43 or code == 45 then at = at + 1 end
    digits("no digit after exponent sign")
  end
  local value = number.read(sub(text, start, at - 1))
  if value == math.huge or value == -math.huge then fail(parser, start, "number is infinity when parsed as double") end
  parser.at = at
  -- The whole number -0 has no sign.
  return integer and digit_count == 1 and byte(text, whole) == 48 and 0 or value
end

local function read_word(parser, word, value, fault)
  local found = sub(parser.text, parser.at, parser.at + #word - 1)
  if found ~= sub(word, 1, #found) then fail(parser, parser.at, fault) end
  if #found < #word then fail(parser, parser.size + 1, "") end
  parser.at = parser.at + #word
  return value
end

local read_value

local function read_children(parser, close)
  local object = close == 125
  local node = object and { kind = "object", values = {} } or { kind = "list", count = 0 }
  parser.depth = parser.depth + 1
  if parser.depth > DEPTH then error({ fault = "depth limit exceeded", place = parser.at + 1 }, 0) end
  parser.at = parser.at + 1
  local code, comma = skip(parser), nil
  while code ~= close or comma do
    local key
    if comma and code == close then fail(parser, comma, "trailing comma is not allowed") end
    if object then
      if code ~= 34 then fail(parser, parser.at, "unexpected character, expected a string key") end
      key = read_string(parser)
      if skip(parser) ~= 58 then fail(parser, parser.at, "unexpected character, expected ':' after key") end
      parser.at = parser.at + 1
      skip(parser)
    end
    local child = read_value(parser)
    if object then
      node.values[key] = child
    else
      node.count = node.count + 1
      node[node.count] = child
    end
    code = skip(parser)
    if code == close then break end
    if code ~= 44 then
      fail(parser, parser.at, "unexpected character, expected ',' or '" .. (object and "}" or "]") .. "'")
    end
    comma = parser.at
    parser.at = comma + 1
    code = skip(parser)
  end
  parser.at = parser.at + 1
  parser.depth = parser.depth - 1
  return node
end

function read_value(parser)
  local code = byte(parser.text, parser.at)
  if code == 123 then return read_children(parser, 125) end
  if code == 91 then return read_children(parser, 93) end
  if code == 34 then
    read_string(parser)
    return json.TEXT
  end
  if code == 116 then return read_word(parser, "true", true, "invalid literal, expected 'true'") end
  if code == 102 then return read_word(parser, "false", false, "invalid literal, expected 'false'") end
  if code == 110 then return read_word(parser, "null", json.NULL, "invalid literal, expected 'null'") end
  if code == 43 or code == 45 or code == 46 or is_digit(code) then return read_number(parser) end
  return fail(parser, parser.at, "unexpected character, expected a JSON value")
end

-- Well-formed UTF-8: no overlong forms, no surrogates, nothing above U+10FFFF (Unicode 15, table 3-7).
function json.is_utf8(text)
  local at = find(text, "[\128-\255]")
  while at do
    local lead, second = byte(text, at, at + 1)
    if lead < 0x80 then
      at = find(text, "[\128-\255]", at)
    else
      if lead < 0xc2 or lead > 0xf4 then return false end
      local more = lead < 0xe0 and 1 or lead < 0xf0 and 2 or 3
      local low = lead == 0xe0 and 0xa0 or lead == 0xf0 and 0x90 or 0x80
      local high = lead == 0xed and 0x9f or lead == 0xf4 and 0x8f or 0xbf
      if second == nil or second < low or second > high then return false end
      for place = at + 2, at + more do
        local code = byte(text, place)
        if code == nil or code < 0x80 or code > 0xbf then return false end
      end
      at = at + more + 1
      if at > #text then return true end
    end
  end
  return true
end

-- Bytes up to the first `most` characters, and how many characters there are in all.
function json.characters(text)
  local _, count = gsub(text, "[^\128-\191]", "")
  return count
end

function json.shortened(text, most)
  local count = 0
  for at = 1, #text do
    local code = byte(text, at)
    if code < 0x80 or code > 0xbf then
      if count == most then return sub(text, 1, at - 1) end
      count = count + 1
    end
  end
  return text
end

-- The document; or nil, the fault and its place, counted in characters from 0.
function json.parse(text)
  if not json.is_utf8(text) then return nil, "str is not valid UTF-8: surrogates not allowed", 0 end
  local parser = { text = text, size = #text, at = 1, depth = 0 }
  if skip(parser) == nil then return nil, "input data is empty", 0 end
  if sub(text, 1, 3) == "\239\187\191" then return nil, "UTF-8 byte order mark (BOM) is not supported", 0 end
  local fine, found = pcall(read_value, parser)
  if fine then
    if skip(parser) == nil then return found end
    found = { fault = "unexpected content after document", place = parser.at }
  end
  if type(found) ~= "table" then error(found, 0) end
  return nil, found.fault, json.characters(sub(text, 1, found.place - 1))
end

-- A JSON string with orjson's choice of escapes: UTF-8 as it is, control characters escaped.
local WORDED = { ['"'] = '\\"', ["\\"] = "\\\\", ["\b"] = "\\b", ["\t"] = "\\t", ["\n"] = "\\n", ["\f"] = "\\f",
                 ["\r"] = "\\r" }
function json.quote(text)
  local function escaped(letter)
    return WORDED[letter] or letter ~= "\127" and string.format("\\u%04x", byte(letter)) or nil
  end
  return '"' .. gsub(text, '[%c"\\]', escaped) .. '"'
end

return json
