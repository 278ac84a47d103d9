-- The bare request for the body of 1 MiB that the origin of `forwarding` has.
wrk.path = "/1mib"
wrk.headers["Host"] = "go.example.com"
