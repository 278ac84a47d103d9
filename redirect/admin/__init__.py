"""The admin listener: our own endpoints, which the public listener has no place for.

app       who may ask for what
metrics   the numbers, for Prometheus
stats     the numbers and the state, for scripts
"""
