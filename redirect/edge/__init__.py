"""The public listener.

reader            target and header fields, by the rules of RFC 9112
response          a decision in HTTP's terms
handler           what both fronts share
asgi              the Starlette front
connection_limit  how many connections a worker accepts
connection        framing, limits and deadlines of a connection
fast_path         the fast front
"""
