"""The admin listener: our own endpoints, which the public listener has no place for.

app       who may ask for what
metrics   the numbers, for Prometheus
stats     the numbers and the state, for scripts
page      the page, and the events that keep it live
view      what the page shows, as values
charts    what the page draws
"""
