"""The control plane: configurations and health, from their sources to the workers.

file_provider  the TOML as a source of configurations, watched
dns_provider   DNS as a source of origins
discovery      what sources of origins found, as origins and health
transfer       a configuration as bytes that processes share
publisher      loads and publishes configurations
probe          one health check of one origin
prober         all health checks, again and again
containers     what becomes of a container that Docker lists
docker_api     what Docker is asked
docker         containers that come and go, followed by Docker's events
instance       what the admin listener shows
"""
