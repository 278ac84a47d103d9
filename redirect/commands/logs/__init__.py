"""`redirect logs`: the access log, asked who was sent where.

    where     which records are meant
    lines     a block of the log, read into rows
    files     files, compressed or not, cut into pieces of whole lines
    progress  how far we are
    scan      work on all pieces, on every core
    text      what a terminal may show
    show      records in columns
    follow    records as they are written
    counts    records, counted by what they hold
    reports   what the counts say: top, latency, statuses
    shares    observed against configured shares
    plot      a report as a picture, by matplotlib
    query     SQL, by DuckDB
    output    what is printed of a report or an answer
    commands  the command line

DuckDB and matplotlib are imported for `query` and `--plot` alone.
"""
