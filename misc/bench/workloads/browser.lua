-- A browser's 15 headers, and paths and queries that never repeat. With the argument `heads-never-repeat`
-- a Cookie and an X-Request-ID come with them that do not either.

local RUN = tostring(os.time()) -- no run repeats what another sent

local HEADERS = " HTTP/1.1\r\n" .. table.concat({
  "Host: go.example.com",
  "Connection: keep-alive",
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
}, "\r\n") .. "\r\n"

local number = 0

local function line_and_headers()
  number = number + 1
  return "GET /articles/" .. RUN .. "-" .. number .. "?page=" .. number % 100 .. "&sort=newest" .. HEADERS
end

local function repeating()
  return line_and_headers() .. "\r\n"
end

local function never_repeating()
  return line_and_headers()
    .. "Cookie: theme=dark; session=" .. RUN .. number .. "\r\n"
    .. "X-Request-ID: " .. RUN .. "-" .. number .. "\r\n\r\n"
end

function init(args)
  request = args[1] == "heads-never-repeat" and never_repeating or repeating
end
