-- Counters that all workers share, under the names of native/metrics.h.
local ffi = require "ffi"

ffi.cdef [[
typedef struct { long seconds, nanoseconds; } edge_moment;
int edge_clock(int clock, edge_moment *moment) __asm__("clock_gettime");
]]

local C, format, insert = ffi.C, string.format, table.insert
local MONOTONIC = 1
local metrics = {}

local ROUTES = { "/predict", "/models/{model}/predict", "/models/{model}/versions/{version}/predict", "/healthz",
                 "/metrics", "unmatched" }
metrics.SHORT, metrics.MODEL, metrics.VERSION, metrics.HEALTH, metrics.METRICS, metrics.NONE = 1, 2, 3, 4, 5, 6
local LAST_PREDICTION = metrics.VERSION
local STATUSES = { 200, 400, 404, 405, 408, 413, 414, 415, 422, 500, 501, 503, 505 }
-- Nanoseconds: from a single answer to the longest that a slow body may take.
local BOUNDS = { 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6, 1e7, 1e8, 1e9, 1e10, math.huge }
local NAMES = { "1e-06", "2e-06", "5e-06", "1e-05", "2e-05", "5e-05", "0.0001", "0.0002", "0.0005", "0.001", "0.01",
                "0.1", "1.0", "10.0", "+Inf" }

-- The keys of the counters, worded once: a request adds to two of them.
local KEYS, SUMS = {}, {}
for route = 1, #ROUTES do
  KEYS[route], SUMS[route] = {}, "sum " .. route
  for _, status in ipairs(STATUSES) do
    KEYS[route][status] = {}
    for bound = 1, #BOUNDS do KEYS[route][status][bound] = route .. " " .. status .. " " .. bound end
  end
end

local moment = ffi.new("edge_moment")
function metrics.now()
  C.edge_clock(MONOTONIC, moment)
  return tonumber(moment.seconds) * 1e9 + tonumber(moment.nanoseconds)
end

function metrics.count(counters, route, status, nanoseconds)
  local bound = 1
  if route <= LAST_PREDICTION then
    while nanoseconds > BOUNDS[bound] do bound = bound + 1 end
    counters:incr(SUMS[route], nanoseconds, 0)
  end
  counters:incr((KEYS[route][status] or KEYS[route][505])[bound], 1, 0)
end

-- All requests of a route with a status, or with a status at all, up to a bound, or up to any.
local function total(counters, route, status, bound)
  local sum = 0
  for _, each in ipairs(status and { status } or STATUSES) do
    for place = bound or 1, bound or #BOUNDS do sum = sum + (counters:get(KEYS[route][each][place]) or 0) end
  end
  return sum
end

function metrics.text(counters, model, version)
  local lines = {
    "# HELP marina_edge_info The policy that is compiled in",
    "# TYPE marina_edge_info gauge",
    format('marina_edge_info{model="%s",version="%s"} 1', model, version),
    "# HELP marina_edge_requests_total Requests that got an answer",
    "# TYPE marina_edge_requests_total counter",
  }
  for route, name in ipairs(ROUTES) do
    for _, status in ipairs(STATUSES) do
      local count = total(counters, route, status)
      if count > 0 then
        insert(lines, format('marina_edge_requests_total{model="%s",route="%s",status="%d"} %d', model, name, status, count))
      end
    end
  end
  insert(lines, "# HELP marina_edge_request_seconds Time from a request's headers to its answer, that of a body on its "
                .. "way included")
  insert(lines, "# TYPE marina_edge_request_seconds histogram")
  for route = 1, LAST_PREDICTION do
    local sum, labels = 0, format('model="%s",route="%s"', model, ROUTES[route])
    for bound = 1, #BOUNDS do
      sum = sum + total(counters, route, nil, bound)
      insert(lines, format('marina_edge_request_seconds_bucket{%s,le="%s"} %d', labels, NAMES[bound], sum))
    end
    local seconds = (counters:get(SUMS[route]) or 0) * 1e-9
    insert(lines, format("marina_edge_request_seconds_sum{%s} %.9f", labels, seconds))
    insert(lines, format("marina_edge_request_seconds_count{%s} %d", labels, sum))
  end
  return table.concat(lines, "\n") .. "\n"
end

return metrics
