# shellcheck shell=bash
# Sourced. Gets contracts/ ready: node_modules as the lock file says, and compiled artifacts. Idempotent, and safe to
# run from several processes at once. Everything it says goes to stderr.

CONTRACTS_DIR="$(cd "$(dirname "${BASH_SOURCE[0]}")/../../contracts" && pwd)"

# npm ci, unless it has run for exactly this lock file.
contracts_install() {
  local stamp="$CONTRACTS_DIR/node_modules/.installed-lock"
  cmp -s "$CONTRACTS_DIR/package-lock.json" "$stamp" && return 0
  (cd "$CONTRACTS_DIR" && npm ci --no-audit --no-fund) >&2 || return
  cp "$CONTRACTS_DIR/package-lock.json" "$stamp"
}

contracts_build() {
  (cd "$CONTRACTS_DIR" && tools/forge build "$@") >&2
}

# Both, one process at a time: two compilers would race for out/ and cache/.
contracts_ready() {
  local status=0
  exec 9>"$CONTRACTS_DIR/.ready.lock"
  flock 9
  { contracts_install && contracts_build src script test-tokens; } || status=$?
  exec 9>&-
  return "$status"
}
