"""The admin listener: our own endpoints, which the public listener has no place for.

app         endpoints, and which of them need the token
listener    the application behind uvicorn
metrics     numbers, for Prometheus
stats       numbers and state, for scripts
discovered  pools that discover, in JSON
page        the page, and the events that keep it live
troubles    what is wrong
view        what the page shows, as values
charts      what the page draws
rendering   the templates
refusal     refused requests, and those with a wrong token
"""
