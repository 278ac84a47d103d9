"""`redirect pools`: edits the TOML. A running service loads the changed file like any other.

edit      text in, text out
replace   a file, locked, read and replaced as a whole
commands  the command line
ramp      another share for a while, in the running service
"""
