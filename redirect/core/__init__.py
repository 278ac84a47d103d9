"""Values and decisions. No I/O, no clock, no framework, no parser.

authority    hosts and ports in one normal spelling
forwarded    which proxies are trusted, and what is taken from them
wording      how messages say values and names
compiled     which of the compiled modules are in use
keys         what a key of the TOML may hold
discovery    origins that come and go
fields       header fields that the TOML may have written into a head
cors         which pages of other hosts may fetch what a pool redirects
routes       what becomes of a request, by its host, path and method
limits       tokens that count the requests under way of a route
pools        a configuration as frozen values
request      what a request asks for
health       which origins are up or down, as values and as bytes
ejections    which origins are down for failures of forwards, and for how long
due          what is due to the origins of a pool
decision     an answer before it is bytes
destination  an origin of a pool, and the redirect there
cycles       smooth weighted round robin
hashing      picks by a key: weighted rendezvous hashing
balancer     which origins of a pool may be picked, and how often
overrides    shares that take the place of the file's for a while
difference   what a configuration does to traffic in place of another
forward      the decision that an origin answers
service      which pool, which origin, which answer
"""
