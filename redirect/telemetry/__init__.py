"""What is kept of requests: the access log and the numbers.

privacy      what the access log leaves out
record       what is kept of a request until it is counted and logged
access_log   one JSON line per request
log_writer   where lines go, without waiting
error_log    what the service logs about itself
failure_log  the error log of a route
sentry       errors, sent to Sentry
forwarded    what the error log says of X-Forwarded fields that do not count
scoreboard   memory that the processes share
history      what was counted in each cell of the last minute, hour and day
batch        what a batch of records adds up to
counters     what a worker adds up
forwards     what it adds up of forwards, by origin
dues         what it adds up of picks that were due otherwise than configured
recorder     counts and logs a batch of records
snapshot     the numbers of an instance, as values
sums         all that is counted and never goes back
state_file   where the sums outlive the instance
statistics   all workers together
"""
