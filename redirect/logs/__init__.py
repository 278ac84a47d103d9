"""`redirect logs`: the access log, asked who was sent where."""
