"""The TOML and the environment, checked.

schema      a pool's table, checked against the keys that `core.pools` states
positions   where in a TOML document a key stands
pieces      a large document, parsed piece by piece
loader      a file, checked as a whole
settings    the environment
"""
