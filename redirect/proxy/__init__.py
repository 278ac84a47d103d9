"""The forwarding of requests to origins, and of their answers to clients.

fields        header fields on their way through
plain_fields  the same of heads in which nothing has to be weighed, compiled
spellings     what names and lines mean, as they are spelled
upstream      a connection to an origin
names         addresses of an origin, asked for without holding up others
connections   the connections to one origin, and how they are made
descriptors   how many connections a worker has
splice        long bodies that the kernel passes from an origin's connection to the client's
untaken       bytes that a peer has not taken yet, and whether it has reset its connection
retries       which failures are tried again
limits        requests under way and in the queue of a route
ejections     what a worker reports of origins that may be ejected
cache         answers for when no origin answers
exchange      one request that is forwarded
forwarder     all of them, in one worker

The client's side is `edge`'s: an exchange tells it what the origin answers, through the methods of `exchange.Client`.
"""
