-- The bare request with a random one of the pools pool-0, pool-1, ...; the argument says how many there are.
local before, count

function init(args)
  math.randomseed(os.time())
  before = "GET " .. wrk.path .. " HTTP/1.1\r\nHost: go.example.com\r\nX-Redirect-Pool-ID: pool-"
  count = tonumber(args[1])
end

function request()
  return before .. math.random(0, count - 1) .. "\r\n\r\n"
end
