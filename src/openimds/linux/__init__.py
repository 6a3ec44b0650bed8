"""What needs Linux and privilege: namespaces, addresses, nftables, systemd."""
