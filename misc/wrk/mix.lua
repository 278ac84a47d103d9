-- The load test: every pool, no pool and an unknown pool by turns, over many paths with queries.
-- Prints what came back and ends with exit code 1 when that was not redirects alone.
--
-- wrk gives each thread a Lua state of its own, and one more to the main program: setup and done run in
-- the main one, init, request and response in the threads. Tallies are globals of the threads, which done
-- reads with thread:get and adds up.

local POOLS = { "pool-a", "pool-b", "pool-c", "none", "unknown" }
local PATHS = 200 -- per pool; enough that no two requests in flight are alike

local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init()
  asked, statuses, origins = {}, {}, {}
  requests = {} -- rendered once: what is measured is the service, not string handling in Lua
  for n = 1, PATHS do
    for _, pool in ipairs(POOLS) do
      local headers = { ["User-Agent"] = "wrk", ["X-Redirect-Pool-ID"] = pool }
      if pool == "none" then headers["X-Redirect-Pool-ID"] = nil end
      local path = string.format("/%s/item%%2F%d//?page=%d&q=a+b&q=%%C3%%A9", pool, n, n)
      table.insert(requests, { pool = pool, text = wrk.format("GET", path, headers) })
    end
  end
  turn = 0
end

local function count(tally, key)
  tally[key] = (tally[key] or 0) + 1
end

function request()
  turn = turn % #requests + 1
  count(asked, requests[turn].pool)
  return requests[turn].text
end

function response(status, headers)
  count(statuses, status)
  local location = headers["location"] or headers["Location"] or ""
  count(origins, location:match("^%a+://([^/]+)") or "no Location")
end

local function sum(name)
  local total = {}
  for _, thread in ipairs(threads) do
    for key, number in pairs(thread:get(name)) do
      total[key] = (total[key] or 0) + number
    end
  end
  return total
end

local function say(...)
  io.stderr:write(string.format(...), "\n")
end

local function section(title, tally)
  local keys = {}
  for key in pairs(tally) do table.insert(keys, key) end
  table.sort(keys)
  say("%s", title)
  for _, key in ipairs(keys) do say("  %-16s%12d", key, tally[key]) end
end

function done(summary, latency)
  local errors, statuses = summary.errors, sum("statuses")
  local seconds = summary.duration / 1e6
  local redirects = 0
  for status, number in pairs(statuses) do
    if status >= 300 and status < 400 then redirects = redirects + number end
  end

  say("%-18s%12d", "requests", summary.requests)
  say("%-18s%12.0f", "requests/s", summary.requests / seconds)
  say("latency, ms")
  for _, p in ipairs({ 50, 90, 99 }) do say("  %-16s%12.2f", "p" .. p, latency:percentile(p) / 1e3) end
  say("  %-16s%12.2f", "max", latency.max / 1e3)
  section("requests by pool", sum("asked"))
  section("answers by status", statuses)
  section("answers by origin", sum("origins"))
  section("socket errors", { connect = errors.connect, read = errors.read, write = errors.write, timeout = errors.timeout })

  local failed = errors.connect + errors.read + errors.write + errors.timeout
  local good = redirects > 0 and redirects == summary.requests and failed == 0
  say("%s", good and "passed: redirects only, no socket error" or "FAILED: not redirects alone, or socket errors")
  os.exit(good and 0 or 1)
end
