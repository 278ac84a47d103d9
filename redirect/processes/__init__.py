"""The processes of an instance.

gunicorn_fixes     patches of gunicorn, each with its reason
application        gunicorn's application: settings, and what workers serve
master             gunicorn's master: keeps the others alive
controller         the control plane
listeners          sockets at our addresses, or given by systemd
controller_socket  how workers reach the controller
child              a process that the master forks
worker             uvicorn in a process of gunicorn's
updates            how a worker applies what was published
allocator          how the C library keeps memory that is freed
"""
