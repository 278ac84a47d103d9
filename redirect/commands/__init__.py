"""The command line.

main      the command `redirect`
loading   settings and configuration, or an exit with the reason
admin     the running service, asked over its admin listener
live      origins that Docker and DNS have now, for `check --live`
serve, init, check, explain, reload   a command each
logs      the access log, queried
pools     the TOML, edited
"""
