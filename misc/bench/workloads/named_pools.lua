-- The bare request with the pools that the arguments name, by turns.
local requests, turn = {}, 0

function init(args)
  for _, pool in ipairs(args) do
    table.insert(requests, wrk.format(nil, nil, { ["Host"] = "go.example.com", ["X-Redirect-Pool-ID"] = pool }))
  end
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end
