"""`redirect pools`: the TOML, edited by command instead of by hand.

    edit      text in, text out: one origin set, added or removed, every other character as it was
    replace   a file, held, read and replaced as a whole
    text      a pool as the commands print it
    commands  the command line

A running service knows nothing of it: it is given a file, whoever wrote it.
"""
