"""The control plane: configurations and health, from their sources to the workers.

file_provider  the TOML as a source of configurations, watched
dns_provider   DNS as a source of origins
discovery      what sources of origins found, as origins and health
transfer       a configuration as bytes that processes share
limits         how many requests a limit lets through, kept at its number
publisher      loads and publishes configurations
probe          one health check of one origin
prober         all health checks, again and again
ejections      which origins are down for failures of forwards
containers     what becomes of a container that Docker lists
docker_api     what Docker is asked
docker         containers that come and go, followed by Docker's events
keeper         has the sums outlive the instance
instance       what the admin listener shows
"""
