"""openimds exec with Azure's PKI hosts: their chain, and its confinement."""

import json
from pathlib import Path

import pytest

from openimds.facts.attested import AZURE_PKI_HOSTS
from tests.system.sandboxes import Network, Place, network, place

__all__ = ["network", "place"]
pytestmark = [pytest.mark.system, pytest.mark.netns]

WALK = """
import base64, json, os, re, socket, ssl, subprocess, sys
from urllib.request import Request, urlopen

def text(der, *options):
    command = ["openssl", *options, "-inform", "DER"]
    return subprocess.run(command, input=der, stdout=subprocess.PIPE, check=True).stdout

def pem_of(der):
    return text(der, "x509").decode()

def urls(der, kind):
    printed = text(der, "x509", "-noout", "-text").decode()
    return re.findall(kind + r"URI:(http://\\S+)", printed)

url = "http://169.254.169.254/metadata/attested/document?api-version=2021-02-01"
with urlopen(Request(url, headers={"Metadata": "true"})) as response:
    cms = base64.b64decode(json.load(response)["signature"])
printed = text(cms, "pkcs7", "-print_certs").decode()
der = ssl.PEM_cert_to_DER_cert(printed[printed.index("-----BEGIN") :])
leaf, above, hosts = pem_of(der), [], set()
while len(above) < 2:
    both = urls(der, "CA Issuers - ")
    got = set()
    for url in both:
        hosts.add(url.split("/")[2])
        for address in (url, url.replace("http:", "https:")):
            with urlopen(address) as response:
                got.add(response.read())
    (der,) = got
    above.append(pem_of(der))
lists = urls(ssl.PEM_cert_to_DER_cert(leaf), r"(?<!CA Issuers - )(?<!OCSP - )")
hosts |= {url.split("/")[2] for url in lists}
(responder,) = urls(ssl.PEM_cert_to_DER_cert(leaf), "OCSP - ")
hosts.add(responder.split("/")[2])
for name, certificates in (("leaf.pem", [leaf]), ("above.pem", above)):
    with open(name, "w") as file:
        file.writelines(certificates)
trust = os.environ["SSL_CERT_FILE"]
chain = ["openssl", "verify", "-CAfile", trust, "-untrusted", "above.pem", "leaf.pem"]
ocsp = ["openssl", "ocsp", "-issuer", "above.pem", "-cert", "leaf.pem", "-url", responder,
        "-CAfile", trust, "-verify_other", "above.pem", "-no_nonce"]
json.dump({
    "hosts": sorted(hosts),
    "chain": subprocess.run(chain, capture_output=True, text=True).stdout,
    "ocsp": subprocess.run(ocsp, capture_output=True, text=True).stdout.splitlines()[0],
    "crl": [len(urlopen(url).read()) > 100 for url in lists],
    "addresses": sorted({socket.gethostbyname(host) for host in hosts}),
}, sys.stdout)
"""
ROOTS = """
import ssl
context = ssl.create_default_context()
names = [dict(part[0] for part in root["subject"])["commonName"] for root in context.get_ca_certs()]
print(*sorted(names), sep="\\n")
"""
UNTRUSTED = """
import ssl, sys
from urllib.request import urlopen
context = ssl.create_default_context(cafile=sys.argv[1])
try:
    urlopen("https://www.microsoft.com/pki/bundle.pem", context=context)
except OSError as error:
    print(error)
"""


def test_chain_is_walked_by_azures_hosts(place: Place, network: Network) -> None:
    hosts, files = Path("/etc/hosts").read_bytes(), place.files()
    walk = place.folder / "walk.py"
    walk.write_text(WALK)
    got = place.run("--pki-names", "azure", "--", place.user.python, "walk.py")
    assert (got.returncode, got.stderr) == (0, "")
    assert json.loads(got.stdout) == {
        "hosts": sorted(AZURE_PKI_HOSTS),
        "chain": "leaf.pem: OK\n",
        "ocsp": "leaf.pem: good",
        "crl": [True, True],
        "addresses": ["192.0.2.1"],
    }
    assert Path("/etc/hosts").read_bytes() == hosts
    assert place.processes() == set()
    made = {path.name for path in place.files() - files}
    assert made == {"walk.py", "leaf.pem", "above.pem"}, "keys and roots are in no file"


def test_https_is_trusted_by_the_commands_file_alone(place: Place) -> None:
    attested = f"{place.inside} attest ca --root > root.pem"
    script = f"{attested} && {place.user.python} -c '{UNTRUSTED}' root.pem"
    got = place.run("--pki-names", "azure", "--", "sh", "-c", script)
    assert (got.returncode, got.stderr) == (0, "")
    assert "CERTIFICATE_VERIFY_FAILED" in got.stdout


def test_commands_file_has_two_roots(place: Place) -> None:
    got = place.run("--pki-names", "azure", "--", place.user.python, "-c", ROOTS)
    assert (got.returncode, got.stderr) == (0, "")
    attested, web = got.stdout.splitlines()
    assert attested.startswith("OpenIMDS Root CA ")
    assert web == "OpenIMDS Web Root"


def test_without_the_option_no_name_is_mapped(place: Place) -> None:
    got = place.run("--", "cat", "/etc/hosts", "/proc/net/fib_trie")
    assert got.returncode == 0
    assert "microsoft" not in got.stdout
    assert "192.0.2." not in got.stdout


@pytest.mark.parametrize(
    "arguments, seen",
    [
        (["--net", "host"], "with --net host"),
        (["--state", "st"], "with a state directory"),
    ],
)
def test_azures_hosts_beside_a_way_out_are_refused(
    place: Place, arguments: list[str], seen: str
) -> None:
    got = place.run("--pki-names", "azure", *arguments, "--", "true")
    assert (got.returncode, got.stdout) == (2, "")
    assert got.stderr.startswith(f'openimds: pki_names: saw "azure" {seen}, expected ')
    assert not (place.folder / "st").exists()


def test_each_vm_has_azures_hosts_in_its_own_sandbox(place: Place) -> None:
    (place.folder / "fleet.yaml").write_text("vms: {a: {}, b: {}}")
    fetch = "curl -sS --cacert $SSL_CERT_FILE https://oneocsp.microsoft.com/pki/bundle.pem"
    vms = ["--fleet", "fleet.yaml", "--vm", "a", "--vm", "b"]
    got = place.run("--pki-names", "azure", *vms, "--", "sh", "-c", f"{fetch} | md5sum")
    assert (got.returncode, got.stderr) == (0, "")
    first, second = sorted(got.stdout.splitlines())
    assert first.removeprefix("a| ") == second.removeprefix("b| "), "one server has one chain"


def test_azures_hosts_are_not_behind_the_machines_proxy(place: Place) -> None:
    fetch = "curl -sS --cacert $SSL_CERT_FILE https://www.microsoft.com/pki/bundle.pem"
    command = ("--pki-names", "azure", "--", "sh", "-c", fetch)
    got = place.run(*command, https_proxy="http://127.0.0.1:9")
    assert (got.returncode, got.stderr) == (0, "")
    assert got.stdout.startswith("-----BEGIN CERTIFICATE-----")
