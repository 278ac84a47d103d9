"""The public listener.

reader           target and header fields, by the rules of RFC 9112
response         a decision as header fields and a body
documents        what the admin listener shows, from the controller
handler          what both fronts share
keys             what a pool that picks by a key tells clients by
asgi             the Starlette front
plain_head       the head of a plain request, read in one go
limits           sizes, times, and the refusals of requests that exceed them
deadlines        the states of a connection, and how long each may last
forwarding       the client's side of a request that is forwarded
asgi_forwarding  the same behind any ASGI server
connection       framing and the order of requests on a connection
fast_path        the fast front
"""
