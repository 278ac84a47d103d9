"""The command line.

main      the command `redirect`
loading   settings and configuration, or an exit with the reason
serve, check, explain, reload   a command each
logs      the access log, queried
pools     the TOML, edited
"""
