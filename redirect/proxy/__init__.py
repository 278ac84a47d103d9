"""The forwarding of requests to origins, and of their answers to clients.

fields       header fields on their way through
upstream     a connection to an origin
connections  the connections to one origin, and how they are made
retries      which failures are tried again
exchange     one request that is forwarded
forwarder    all of them, in one worker

The client's side is `edge`'s: an exchange tells it what the origin answers, through the methods of `exchange.Client`.
"""
