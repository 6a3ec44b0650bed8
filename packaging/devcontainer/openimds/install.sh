#!/bin/sh
# Installs OpenIMDS from a package that lies beside this file, on Debian or Ubuntu. Tools for dev
# containers run it as root while they make an image, with the options as variables.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
share=/usr/local/share/openimds
version=${VERSION:-latest}
fleet=${FLEET:-}

fail() {
  echo "openimds: $1" >&2
  exit 1
}

# Nobody owns the name in a public index, so a package is never looked up by it: it lies here.
packages() {
  for path in "$here"/openimds_*.deb "$here"/openimds-*.pyz "$here"/openimds-*.whl; do
    [ ! -f "$path" ] || printf '%s\n' "${path##*/}"
  done
}
# Prints a version in Debian's form, in which a pre-release sorts before its release.
debian_version() { printf '%s\n' "$1" | sed -E 's/[.~]?(dev|a|b|rc)([0-9])/~\1\2/'; }
# The version of a package lies between its name and the next "_" or "-".
version_of() { debian_version "$(printf '%s\n' "$1" | sed -E 's/^openimds[_-]([^_-]*).*/\1/')"; }

if [ "$version" = latest ]; then
  version=
  wanted=$(packages | while read -r name; do version_of "$name"; done | sort -V | tail -n 1)
else
  wanted=$(debian_version "$version")
fi
found=
for name in $(packages); do
  [ "$(version_of "$name")" != "$wanted" ] || found="$found $name"
done
case "${found# }" in
  '') fail "there is no package${version:+ of version $version} in $here: make one by 'make pyz', 'make deb' or 'make dist' in a checkout, and copy it there" ;;
  *' '*) fail "several packages fit:$found: leave one of them in $here" ;;
esac
package=$here/${found# }

# Installs packages of the distribution; the list of what there is may be missing or old.
add() {
  command -v apt-get > /dev/null || fail "this image has no apt-get, and lacks $*"
  DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends "$@" > /dev/null ||
    { apt-get update --quiet > /dev/null && DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet \
      --no-install-recommends "$@" > /dev/null; } || fail "apt-get cannot install $*"
}

case $package in
  *.deb) add "$package" ;;
  *.pyz)
    command -v python3 > /dev/null || add python3
    install -m 0755 "$package" /usr/local/bin/openimds
    ;;
  *.whl)
    command -v python3 > /dev/null || add python3
    python3 -c 'import ensurepip' 2> /dev/null || add python3-venv
    python3 -m venv /usr/local/lib/openimds
    /usr/local/lib/openimds/bin/pip install --quiet --disable-pip-version-check --no-cache-dir "$package"
    ln -sf /usr/local/lib/openimds/bin/openimds /usr/local/bin/openimds
    ;;
esac
openimds --version || fail "$package does not run here"

mkdir -p "$share"
case $fleet in
  '' | /*) ;;
  *)
    [ -f "$here/$fleet" ] || fail "option fleet: there is no $fleet in $here; name a file there, or an absolute path in the container"
    openimds fleet check "$here/$fleet" || fail "option fleet: $fleet is refused"
    install -m 0644 "$here/$fleet" "$share/${fleet##*/}"
    fleet=$share/${fleet##*/}
    ;;
esac
quote() { printf "'%s'\n" "$(printf %s "$1" | sed "s/'/'\\\\''/g")"; }
{
  # echo of dash would make a new line of the two characters \n.
  printf '%s\n' "fleet=$(quote "$fleet")"
  printf '%s\n' "arguments=$(quote "${ARGUMENTS:-}")"
  printf '%s\n' "user=$(quote "${_REMOTE_USER:-root}")"
} > "$share/options"
install -m 0755 "$here/start" "$share/start"
