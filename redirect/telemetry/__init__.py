"""What is kept of requests: the access log and the numbers.

record        what is kept of a request until it is counted and logged
access_log    one JSON line per request
log_writer    where lines go, without waiting
error_log     what the service logs about itself
scoreboard    memory that the processes share
counters      what a worker adds up
forwards      what it adds up of forwards, by origin
recorder      counts and logs a batch of records
snapshot      the numbers of an instance, as values
statistics    all workers together
"""
