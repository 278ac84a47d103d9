"""Redirect: a weighted redirect service. This is its map.

A folder is a wing. Each imports only wings above it, as `tests/test_layers.py` says.

    core        values and decisions: the product, without I/O
    config      the TOML and the environment, checked
    telemetry   the access log and the numbers
    proxy       requests forwarded to origins, and their answers
    edge        the public listener: a request in, an answer out
    control     configurations and health, from their sources to the workers
    admin       the admin listener and its page
    processes   gunicorn's master, the workers, the controller
    commands    the command line

`core/service.py` decides which pool, which origin and which answer. Begin there.
"""
