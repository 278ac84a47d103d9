-- The smallest request: a request line and Host, always the same.
wrk.headers["Host"] = "go.example.com"
