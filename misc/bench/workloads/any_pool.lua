-- The bare request with a random one of the pools pool-0, pool-1, ...; the argument says how many there are.
-- A field that never repeats comes with it: with few pools a connection would know the head again, with many
-- it would not, and that would be measured instead.
local before, count
local number = 0

function init(args)
  math.randomseed(os.time())
  before = "GET " .. wrk.path .. " HTTP/1.1\r\nHost: go.example.com\r\nX-Redirect-Pool-ID: pool-"
  count = tonumber(args[1])
end

function request()
  number = number + 1
  return before .. math.random(0, count - 1) .. "\r\nX-Request-ID: " .. number .. "\r\n\r\n"
end
