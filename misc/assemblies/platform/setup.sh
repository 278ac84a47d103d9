#!/usr/bin/env bash
# Prepares a Debian or Ubuntu to run this assembly: installs the container engine and compose where they are missing,
# lets the user use them, adds its domain to the hosts file, and makes a secret for tokens. What is there already is
# kept, so it is safe to run again. `./setup.sh --dry-run` only prints what it would do.
set -euo pipefail
cd "$(dirname "$0")"

domains=(platform)
hosts_file=${HOSTS_FILE:-/etc/hosts}
env_file=${ENV_FILE:-.env}
os_release=${OS_RELEASE:-/etc/os-release}
user=${SUDO_USER:-$(id -un)}

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

dry_run=
case ${1-} in
  '') ;;
  --dry-run) dry_run=yes ;;
  *) printf 'usage: setup.sh [--dry-run]\n' >&2; exit 2 ;;
esac

# Runs a command as root.
as_root() {
  if [[ $dry_run ]]; then say "would run: $*"
  elif [[ $(id -u) == 0 ]]; then "$@"
  else sudo "$@"
  fi
}

# Appends a line, as root where the file is not ours. A last line that has no end gets one before.
append() { # FILE LINE
  local start=
  [[ ! -s $1 || -z $(tail -c 1 "$1") ]] || start=$'\n'
  if [[ $dry_run ]]; then say "would add to $1: ${2%%=*}"; return; fi
  if [[ -w $1 || ! -e $1 ]]; then printf '%s%s\n' "$start" "$2" >>"$1"
  else printf '%s%s\n' "$start" "$2" | as_root tee -a "$1" >/dev/null
  fi
  say "added to $1: ${2%%=*}"  # of a secret its name only
}

check_system() {
  [[ -r $os_release ]] && grep -qE '^ID(_LIKE)?=.*(debian|ubuntu)' "$os_release" ||
    fail "this is neither Debian nor Ubuntu. On a Mac or elsewhere, install Docker Desktop, add the line" \
      "\"127.0.0.1 ${domains[*]}\" to the hosts file, and write JWT_SECRET=… into .env."
}

has_compose() { docker compose version >/dev/null 2>&1; }

compose_package() { # Ubuntu's, Docker's own, Debian's
  local each
  for each in docker-compose-v2 docker-compose-plugin; do
    if apt-cache show "$each" >/dev/null 2>&1; then echo "$each"; return; fi
  done
  echo docker-compose
}

install_docker() {
  local missing=()
  command -v docker >/dev/null || missing+=(docker.io)
  if has_compose && [[ ${#missing[@]} == 0 ]]; then say "docker and docker compose are there"; return; fi
  as_root apt-get update
  has_compose || missing+=("$(compose_package)")
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y "${missing[@]}"
  [[ $dry_run ]] || has_compose ||
    fail "docker compose is still missing, as ${missing[*]} has version 1 here: see https://docs.docker.com/compose/install/linux/"
}

allow_docker() {
  if [[ $user == root ]] || id -nG "$user" | grep -qw docker; then say "$user may use docker"; return; fi
  as_root usermod --append --groups docker "$user"
  say "log out and in again, or run \"newgrp docker\": only then $user may use docker"
}

add_domains() {
  local each
  for each in "${domains[@]}"; do
    if grep -qE "^[^#]*[[:space:]]$each([[:space:]]|\$)" "$hosts_file"; then say "$each is in $hosts_file"
    else append "$hosts_file" "127.0.0.1 $each"
    fi
  done
}

# Whether compose gets a value from the file: the last line with the name counts, and quotes may hold nothing.
has_value() { # FILE NAME
  local line value
  line=$(grep -E "^[[:space:]]*(export[[:space:]]+)?$2[[:space:]]*[=:]" "$1" | tail -n 1) || return 1
  value=${line#*[=:]}
  value=${value//[[:space:]]/}
  [[ $value && $value != '""'* && $value != "''"* ]]
}

# compose runs as the user, who has to read the file: one that was made under sudo is root's.
give_to_user() { # FILE
  [[ -e $1 && $user != root ]] || return 0
  if [[ $(id -u) == 0 || ! -O $1 ]]; then as_root chown "$user:" "$1"; fi
}

make_secret() {
  give_to_user "$env_file"
  if [[ -e $env_file ]] && has_value "$env_file" JWT_SECRET; then say "JWT_SECRET is in $env_file"; return; fi
  umask 077
  append "$env_file" "JWT_SECRET=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')"
  give_to_user "$env_file"
}

check_system
install_docker
allow_docker
add_domains
make_secret
say "now: docker compose up --build --wait"
