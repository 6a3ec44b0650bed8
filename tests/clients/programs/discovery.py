"""Runs Prometheus's discovery of the machines of a subscription, with a fake Resource Manager.

`DISCOVERY` is the program of `go/discovery`, or `PROMETHEUS` all of Prometheus. The output has the
discovered targets and the tokens that Resource Manager received. It is reached by a proxy, at
Azure's name and with a certificate of its own, so that Prometheus keeps all its checks.
"""

import datetime as dt
import json
import os
import ssl
import subprocess
import sys
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

HOST = "management.azure.com"
SUBSCRIPTION = "/subscriptions/8d7a2b1c-0000-4000-8000-000000000002"
_GROUP = f"{SUBSCRIPTION}/resourceGroups/lab/providers"
_NIC = f"{_GROUP}/Microsoft.Network/networkInterfaces/web-9"
_VM = {
    "id": f"{_GROUP}/Microsoft.Compute/virtualMachines/web-9",
    "name": "web-9",
    "type": "Microsoft.Compute/virtualMachines",
    "location": "westeurope",
    "tags": {"env": "prod"},
    "properties": {
        "hardwareProfile": {"vmSize": "Standard_D2s_v5"},
        "osProfile": {"computerName": "web-9"},
        "storageProfile": {"osDisk": {"osType": "Linux"}},
        "networkProfile": {"networkInterfaces": [{"id": _NIC, "properties": {"primary": True}}]},
    },
}
_ADDRESS = {"properties": {"primary": True, "privateIPAddress": "10.0.0.9"}}
_SHOWN: dict[str, dict[str, Any]] = {
    f"{SUBSCRIPTION}/providers/Microsoft.Compute/virtualMachines": {"value": [_VM]},
    f"{SUBSCRIPTION}/providers/Microsoft.Compute/virtualMachineScaleSets": {"value": []},
    _NIC: {"id": _NIC, "properties": {"primary": True, "ipConfigurations": [_ADDRESS]}},
}
_MOST = 300
_PAUSE_S = 0.1
_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


class ResourceManager(ThreadingHTTPServer):
    """A fake of Azure Resource Manager: it lists machines and stores the tokens."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.tokens: list[str] = []
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate())
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    server: ResourceManager
    protocol_version = "HTTP/1.1"

    def do_CONNECT(self) -> None:
        """Act as the proxy, then as the host behind it."""
        self.send_response(200)
        self.end_headers()
        self.connection = self.server.context.wrap_socket(self.connection, server_side=True)
        self.rfile = self.connection.makefile("rb")
        self.wfile = self.connection.makefile("wb", buffering=0)
        self.close_connection = False

    def do_GET(self) -> None:
        """Send the resource, and store the token."""
        kind, _, token = self.headers.get("Authorization", "").partition(" ")
        shown = _SHOWN.get(self.path.partition("?")[0])
        status = 401 if kind != "Bearer" else 200 if shown else 404
        self.server.tokens.append(token)
        body = json.dumps(shown).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


def certificate() -> Path:
    """Make a certificate for the host of Resource Manager, with its key; return the file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    day, now = dt.timedelta(days=1), dt.datetime.now(dt.UTC)
    issued = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - day, now + day)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = Path("resource-manager.pem")
    path.write_bytes(issued.public_bytes(pem) + key.private_bytes(pem, *plain))
    return path


def program(sd: dict[str, Any]) -> dict[str, Any]:
    """Run Prometheus until it has targets or logs an error."""
    jobs = [{"job_name": "azure", "azure_sd_configs": [sd], "scrape_interval": "1h"}]
    Path("prometheus.yml").write_text(json.dumps({"scrape_configs": jobs}))
    where = "127.0.0.1:9090"
    flags = ("--config.file=prometheus.yml", f"--web.listen-address={where}")
    with Path("prometheus.log").open("w") as log_file:
        process = subprocess.Popen([os.environ["PROMETHEUS"], *flags], stderr=log_file)
    try:
        for _ in range(_MOST):
            log = Path("prometheus.log").read_text()
            errors = [line for line in log.splitlines() if "level=error" in line]
            targets = [] if "Server is ready" not in log else discovered(where)
            if errors or targets:
                break
            threading.Event().wait(_PAUSE_S)
    finally:
        process.terminate()
        process.wait(30)
    return {"targets": targets, "log": "\n".join(errors)}


def discovered(where: str) -> list[dict[str, str]]:
    """Return the labels of each target as it was discovered."""
    with _open(f"http://{where}/api/v1/targets", timeout=30) as got:
        data = json.load(got)["data"]
    return [target["discoveredLabels"] for target in data["activeTargets"]]


def package(sd: dict[str, Any]) -> dict[str, Any]:
    """Run the discovery alone."""
    command = [os.environ["DISCOVERY"]]
    ran = subprocess.run(
        command, input=json.dumps([sd]), capture_output=True, text=True, check=True
    )
    (result,) = json.loads(ran.stdout)
    return dict(result)


def outcome(case: dict[str, Any]) -> dict[str, Any]:
    """Return the result of a case: a configuration without the settings of this network."""
    manager = ResourceManager()
    here = {
        "proxy_url": f"http://127.0.0.1:{manager.server_port}",
        "tls_config": {"ca_file": "resource-manager.pem"},
        "subscription_id": SUBSCRIPTION.rpartition("/")[2],
    }
    run = program if "PROMETHEUS" in os.environ else package
    result = run({**case, **here})
    manager.shutdown()
    return {**result, "tokens": manager.tokens}


if __name__ == "__main__":
    print(json.dumps([outcome(case) for case in json.load(sys.stdin)]))  # noqa: T201 - the results
