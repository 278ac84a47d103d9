"""`redirect logs`: shows, follows, aggregates and queries the access log.

    commands    the command line
    filters     which files are read, and which records are selected
    files       reads files, compressed or not
    packed      unpacks them, by their first bytes
    wrapped     takes off what container engines put around lines
    records     parses lines
    show        prints records
    follow      prints records as they are written
    counts      what reports are made of
    database    the log in DuckDB, and its counts for a report
    answer      prints the answer to the user's SQL
    clickhouse  the log in ClickHouse
    reports     top, latency, statuses
    shares      observed against configured shares
    query       SQL of the user
    text        tables, and text that is safe for a terminal
    progress    the progress bar

DuckDB is imported for `report` and `query` alone.
"""
