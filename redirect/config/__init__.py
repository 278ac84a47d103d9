"""The TOML and the environment, checked.

positions   where in a TOML document a key stands
schema      the keys, as `core.pools` and `core.routes` state them, and the words for faults
pools       the table of a pool, checked
routes      the array of the routes, checked
pieces      a large document, parsed piece by piece
loader      a file, checked as a whole
surprises   what is legal in it, and a warning
settings    the environment
cores       how many cores may be used
"""
