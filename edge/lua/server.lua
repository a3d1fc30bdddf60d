-- The edge without a compiler, in ngx_http_lua: the routes, headers and errors of native/ngx_http_edge_module.c.
--
-- A new version needs no reload: a file names the folder of the policy, each worker looks at it ten times a second, and
-- the first that has loaded another policy tells the others through the shared counters' memory, so that after one
-- answer of the new version no worker gives one of the old.
local answer = require "edge.lua.answer"
local json = require "edge.lua.json"
local metrics = require "edge.lua.metrics"
local policies = require "edge.lua.policy"

local find, lower, match = string.find, string.lower, string.match
local LOOK_S = 0.1
local JSON, TEXT = "application/json", "text/plain; version=0.0.4; charset=utf-8"

local server = {}
local settings, counters, serving
local broken = {} -- folders that did not load: told once

function server.prepare(options)
  settings, counters = options, ngx.shared.edge
end

local function take(folder)
  if broken[folder] then return false end
  local fine, found = pcall(policies.load, folder)
  if not fine then
    broken[folder] = true
    ngx.log(ngx.ERR, "the policy in ", folder, " does not load: ", found)
    return false
  end
  found.folder = folder
  found.path = "/models/" .. found.model .. "/predict"
  serving = found
  return true
end

local function look()
  local file = io.open(settings.policy)
  local folder = file and file:read("*l")
  if file then file:close() end
  if not folder then return end
  if not find(folder, "^/") then folder = match(settings.policy, "^(.*/)") .. folder end
  if folder ~= (serving and serving.folder) and not take(folder) then return end
  if counters:get("serving") ~= folder then counters:set("serving", folder) end
end

function server.watch()
  look()
  ngx.timer.every(LOOK_S, look)
end

-- The client's id when it is printable ASCII of at most 128 characters, else a new one of 32 hex digits.
local function request_id()
  local offered = ngx.var.http_x_request_id
  if offered and #offered >= 1 and #offered <= 128 and not find(offered, "[^\32-\126]") then return offered end
  return ngx.var.request_id
end

local function send(request, status, body, kind)
  local header = ngx.header
  ngx.status = status
  header["Content-Type"] = kind or JSON
  header["Content-Length"] = #body
  header["x-request-id"] = request.id
  header["x-content-type-options"] = "nosniff"
  if status == 200 and request.route <= metrics.VERSION then header["x-model-version"] = serving.version end
  metrics.count(counters, request.route, status, metrics.now() - request.started)
  ngx.print(body)
end

local function tell(request, status, code, detail)
  return send(request, status, answer.error(code, detail, request.id))
end

-- Without reading the body: nginx takes it off the connection afterwards, or closes that.
local function refuse(request, status, code, detail)
  ngx.req.discard_body()
  return tell(request, status, code, detail)
end

local function too_large(request)
  return tell(request, 413, "too_large", "the body is larger than the " .. settings.max_body .. " bytes that are accepted")
end

local function bad_deadline()
  local given = ngx.var.http_x_deadline_ms
  return given ~= nil and (#given == 0 or #given > 18 or find(given, "[^0-9]") ~= nil)
end

local function refuse_deadline(request)
  return refuse(request, 400, "unreadable_input", "X-Deadline-Ms must be a whole number of milliseconds")
end

local function is_json()
  local kind = ngx.var.http_content_type
  if kind == JSON then return true end
  return kind ~= nil and lower(match(match(kind, "^[^;]*"), "^[ \t]*(.-)[ \t]*$")) == JSON
end

-- The whole body; a large one lies in a file.
local function whole_body()
  ngx.req.read_body()
  local body = ngx.req.get_body_data()
  local path = body == nil and ngx.req.get_body_file()
  if not path then return body or "" end
  local file = assert(io.open(path, "rb"))
  body = file:read("*a")
  file:close()
  return body
end

local function predict(request, form)
  if bad_deadline() then return refuse_deadline(request) end
  local encoding = ngx.var.http_content_encoding
  if encoding and encoding ~= "" and lower(encoding) ~= "identity" then
    return refuse(request, 415, "wrong_type", "compressed bodies are not read; send the body without Content-Encoding")
  end
  local body = whole_body()
  if #body > settings.max_body then return too_large(request) end
  if #body == 0 then return tell(request, 400, "unreadable_input", "the body is empty") end
  if not is_json() then return tell(request, 415, "wrong_type", "send application/json") end
  return send(request, answer.to(serving, body, form, request.id))
end

local function not_allowed(request, allowed)
  ngx.header["Allow"] = allowed
  return refuse(request, 405, "method_not_allowed", "Method Not Allowed")
end

local function show(request)
  if ngx.req.get_method() ~= "GET" then return not_allowed(request, "GET") end
  ngx.req.discard_body()
  if request.route == metrics.HEALTH then return send(request, 200, '{"status":"alive"}') end
  return send(request, 200, metrics.text(counters, serving.model, serving.version), TEXT)
end

local function unknown_model(request, model, version)
  if bad_deadline() then return refuse_deadline(request) end
  local name = json.shortened((version and "version " .. version .. " of " or "") .. "model " .. model, 200)
  return refuse(request, 404, "unknown_model", "no " .. (json.is_utf8(name) and name or "") .. " is registered")
end

local function started(route)
  return { id = request_id(), route = route, started = metrics.now() }
end

-- Whatever another worker has begun to serve, this one serves too.
local function follow()
  local folder = counters:get("serving")
  if folder and folder ~= (serving and serving.folder) then take(folder) end
end

-- One request.
function server.answer()
  local uri, request = ngx.var.uri, started(metrics.NONE)
  follow()
  if not serving then return refuse(request, 503, "no_worker", "no policy is loaded") end
  local form, model, version = "any", nil, nil
  if uri == "/predict" then
    request.route, form = metrics.SHORT, "state"
  elseif uri == serving.path then
    request.route = metrics.MODEL
  elseif uri == "/healthz" or uri == "/metrics" then
    request.route = uri == "/healthz" and metrics.HEALTH or metrics.METRICS
    return show(request)
  else
    model = match(uri, "^/models/([^/]+)/predict$")
    request.route = metrics.MODEL
    if not model then
      model, version = match(uri, "^/models/([^/]+)/versions/([^/]+)/predict$")
      request.route = model and metrics.VERSION or metrics.NONE
    end
    if not model then return refuse(request, 404, "not_found", "Not Found") end
  end
  if ngx.req.get_method() ~= "POST" then return not_allowed(request, "POST") end
  if (model and model ~= serving.model) or (version and version ~= serving.version) then
    return unknown_model(request, model, version)
  end
  return predict(request, form)
end

local REFUSED = {
  [408] = { 408, "request_timeout", "the request did not arrive in time" },
  [405] = { 405, "method_not_allowed", "Method Not Allowed" },
  [414] = { 414, "uri_too_long", "URI Too Long" },
  [501] = { 501, "not_implemented", "Not Implemented" },
  [505] = { 505, "http_version_not_supported", "HTTP Version Not Supported" },
}
for _, status in ipairs { 400, 494, 495, 496, 497 } do
  REFUSED[status] = { 400, "unreadable_input", "the request is not HTTP that is read here" }
end

-- What nginx refused by itself: its status under the one shape of every error.
function server.refused()
  local request, status = started(metrics.NONE), ngx.status
  if status == 413 then return too_large(request) end
  if REFUSED[status] then return tell(request, unpack(REFUSED[status])) end
  if status < 500 then return tell(request, 400, "unreadable_input", "the request is refused") end
  return tell(request, 500, "internal", "the edge failed on this request")
end

return server
