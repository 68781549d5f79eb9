#!/usr/bin/env bash
# Drops packets between two network namespaces: the server, Redis and Postgres in one, visitors in the other.
#
#   sudo tests/network/run.sh                    200 visitors for each length
#   sudo VISITORS=20 tests/network/run.sh        fewer
#   sudo RTO_MAX_MS=1000 tests/network/run.sh    the server's kernel waits at most 1 s before it sends again (Linux 6.15)
#
# Needs Linux, root, iproute2 (`ip`, `ss`) and nftables (`nft`), and `npm ci`. It takes about 2 minutes, and no longer
# than 10. What it makes is in the two namespaces and a temporary folder; they are removed at the end, on Ctrl-C too.
set -euo pipefail
cd "$(dirname "$0")/../.."

server=rollcall-server-$$
visitors=rollcall-visitors-$$
# 198.18.0.0/15 is for tests of networks (RFC 2544): it is nobody's.
server_address=198.18.0.1
# One for each group of visitors: packets are dropped by it.
visitor_addresses=(198.18.0.11 198.18.0.12 198.18.0.13 198.18.0.14 198.18.0.15)

need() {
  command -v "$1" >/dev/null || { echo "$1 is missing: install $2." >&2; exit 1; }
}
need ip iproute2
need ss iproute2
need nft nftables
need node 'Node.js 20.19 or later'
[ "$(id -u)" -eq 0 ] || { echo 'Network namespaces need root: sudo tests/network/run.sh' >&2; exit 1; }

folder=$(mktemp -d)
# Postgres, which does not run as root, has its data below.
chmod 0711 "$folder"
clean_up() {
  trap - EXIT INT TERM
  for namespace in "$server" "$visitors"; do
    ip netns pids "$namespace" 2>/dev/null | xargs --no-run-if-empty kill -KILL 2>/dev/null || true
    ip netns del "$namespace" 2>/dev/null || true
  done
  rm -rf "$folder"
}
trap clean_up EXIT
trap 'clean_up; exit 130' INT
trap 'clean_up; exit 143' TERM

ip netns add "$server" || { echo 'This machine allows no network namespaces.' >&2; exit 1; }
ip netns add "$visitors"
ip -n "$server" link add server type veth peer name visitors netns "$visitors"
ip -n "$server" addr add "$server_address/24" dev server
for address in "${visitor_addresses[@]}"; do ip -n "$visitors" addr add "$address/24" dev visitors; done
ip -n "$server" link set lo up
ip -n "$server" link set server up
ip -n "$visitors" link set lo up
ip -n "$visitors" link set visitors up
if [ -n "${RTO_MAX_MS:-}" ]; then ip netns exec "$server" sysctl -q -w "net.ipv4.tcp_rto_max_ms=$RTO_MAX_MS"; fi

# Packets are dropped where they arrive. Dropped where they are sent, the sender would know, and would not wait as long.
for namespace in "$server" "$visitors"; do
  ip netns exec "$namespace" nft -f - <<'EOF'
table inet drops {
  set addresses { type ipv4_addr; }
  chain arriving {
    type filter hook input priority 0
    ip saddr @addresses drop
    ip daddr @addresses drop
  }
}
EOF
done

# In the background and waited for, so that a signal is heard at once.
TMPDIR=$folder SERVER_NAMESPACE=$server VISITORS_NAMESPACE=$visitors \
  SERVER_ADDRESS=$server_address VISITOR_ADDRESSES="${visitor_addresses[*]}" VISITORS=${VISITORS:-200} RTO_MAX_MS=${RTO_MAX_MS:-} \
  timeout --kill-after=10 600 ip netns exec "$server" npx vitest run --config vitest.network.config.ts "$@" &
wait $!
