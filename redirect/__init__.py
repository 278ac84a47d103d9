"""Redirect: a weighted redirect service. This is its map.

A request enters at the bottom of the left column and its decision is made at the top; imports go
upwards only.

    authority    hosts and ports, every spelling made equal
    positions    where in a TOML document a key stands
    schema       what the TOML may hold
    config       the TOML, checked as a whole           forwarded   which proxy is believed
    rotation     whose turn it is                       settings    the environment
    eligibility  who takes part in it
    decision     an answer, as a value                  request     target and Host, by the rules
    service      which pool, which origin, which answer: the product
    answer       a decision in HTTP's terms             record      what is kept of an answered request
    snapshot     the numbers of an instance             outlet      where lines go, without waiting
    board        memory that processes share            access_log  one JSON line per request
    error_log    what the service says of itself
    counters     what a worker adds up                  journal     counts and logs, a batch at a time
    verdict      who is up, and who is down             instance    all workers together, looked at
    handover     a configuration on its way to workers
    front        what both fronts share                 probe       an origin, asked how it is
    app          the Starlette front                    prober      all of them, again and again
    room         for how many connections there is room
    guard        what a connection owes                 admin       our own endpoints, and the page
    protocol     the fast front                         reload      another TOML, put in force
    worker       uvicorn in a process of gunicorn's     pools       the TOML, edited by command
    server       gunicorn's master                      logs        the access log, asked
    cli          the commands
"""
