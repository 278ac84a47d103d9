-- A browser's 15 headers, and paths and queries that never repeat. With the argument `heads-never-repeat` a Cookie and
-- an X-Request-ID come with them that do not either. With `proxied` the heads are those that nginx.conf makes of them:
-- of 5,000 clients with 200 agents, in front of whose headers stand those that nginx sets.

local RUN = tostring(os.time()) -- no run repeats what another sent

local HOST = "Host: go.example.com"

local HEADERS = {
  'sec-ch-ua: "Chromium";v="142", "Google Chrome";v="142", "Not_A Brand";v="99"',
  "sec-ch-ua-mobile: ?0",
  'sec-ch-ua-platform: "Windows"',
  "Upgrade-Insecure-Requests: 1",
  "User-Agent: Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
  "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8",
  "Sec-Fetch-Site: cross-site",
  "Sec-Fetch-Mode: navigate",
  "Sec-Fetch-User: ?1",
  "Sec-Fetch-Dest: document",
  "Referer: https://www.example.org/news/today",
  "Accept-Encoding: gzip, deflate, br, zstd",
  "Accept-Language: en-GB,en;q=0.9,de;q=0.8",
}

local OF_ONE = HOST .. "\r\nConnection: keep-alive\r\n" .. table.concat(HEADERS, "\r\n") .. "\r\n"

local OF_AGENTS = {}
for agent = 1, 200 do
  OF_AGENTS[agent] = table.concat(HEADERS, "\r\n"):gsub("Chrome/142%.0%.0%.0", "Chrome/142.0." .. agent .. ".0") .. "\r\n"
end

local number = 0

local function line()
  number = number + 1
  return "GET /articles/" .. RUN .. "-" .. number .. "?page=" .. number % 100 .. "&sort=newest HTTP/1.1\r\n"
end

local function cookie()
  return "Cookie: theme=dark; session=" .. RUN .. number .. "\r\n"
end

local function id()
  return "X-Request-ID: " .. RUN .. "-" .. number .. "\r\n"
end

local function repeating()
  return line() .. OF_ONE .. "\r\n"
end

local function never_repeating()
  return line() .. OF_ONE .. cookie() .. id() .. "\r\n"
end

local function proxied()
  local client = math.random(0, 4999)
  return line()
    .. HOST
    .. ("\r\nX-Forwarded-For: 203.0.%d.%d\r\nX-Forwarded-Proto: http\r\n"):format(client / 250, client % 250 + 1)
    .. id()
    .. OF_AGENTS[client % 200 + 1]
    .. cookie()
    .. "\r\n"
end

local KINDS = { ["heads-never-repeat"] = never_repeating, proxied = proxied }

function init(args)
  request = KINDS[args[1]] or repeating
end
