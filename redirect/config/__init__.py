"""The TOML and the environment, checked.

schema      what the TOML may hold
positions   where in a TOML document a key stands
loader      a file, checked as a whole
settings    the environment
"""
