"""Prints a token of a user, as POST /token gives it: docker compose exec auth-api python make_token.py alice

Not token.py: in the folder of a script that name would stand in for a module of the standard library.
"""

import argparse

from auth_api import SECONDS_VALID, USERS, make_token

parser = argparse.ArgumentParser(description="Prints a token of a user.")
parser.add_argument("username", choices=USERS)
parser.add_argument("--seconds", type=int, default=SECONDS_VALID, help="how long it is valid")
options = parser.parse_args()
print(make_token(USERS[options.username], options.seconds))
