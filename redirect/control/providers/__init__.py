"""Sources of configurations.

file   the TOML, watched
"""
