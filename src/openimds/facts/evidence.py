"""The evidence of a row: the sources of a fact, and how certain it is."""

from enum import StrEnum

from msgspec import Struct


class Mark(StrEnum):
    """The quality of evidence, best first."""

    OBSERVED = "observed"
    """A recorded answer, a captured header, a log line."""
    CLIENT = "client"
    """A shipping client sends and parses it with success: working code, not a recording."""
    DOCUMENTED = "documented"
    """A document, a swagger file or a design note of Microsoft has it; no recording shows it."""
    INFERRED = "inferred"
    """From mocks, from comments, or by elimination."""
    CHOSEN = "chosen"
    """Assumed without evidence, until a recording replaces the assumption."""


class Evidence(Struct, frozen=True):
    """A mark, the keys of its `SOURCES`, and a note where one is needed."""

    mark: Mark
    sources: tuple[str, ...] = ()
    note: str = ""


def observed(*sources: str, note: str = "") -> Evidence:
    """Return evidence from a recording."""
    return Evidence(Mark.OBSERVED, sources, note)


def client(*sources: str, note: str = "") -> Evidence:
    """Return evidence from working clients."""
    return Evidence(Mark.CLIENT, sources, note)


def documented(*sources: str, note: str = "") -> Evidence:
    """Return evidence from a document only."""
    return Evidence(Mark.DOCUMENTED, sources, note)


def inferred(*sources: str, note: str = "") -> Evidence:
    """Return evidence that was concluded, not seen."""
    return Evidence(Mark.INFERRED, sources, note)


def chosen(note: str) -> Evidence:
    """Return the mark of an assumption, with its reason."""
    return Evidence(Mark.CHOSEN, (), note)


SOURCES: dict[str, str] = {
    "S1": "MicrosoftDocs instance-metadata-service.md, translation of 2021-01-05",
    "S2": "MicrosoftDocs/azure-compute-docs instance-metadata-service.md, versions to 2025-04-07",
    "S4": "Azure/azure-rest-api-specs, imds data plane, 25 swagger files 2018-02-01 to 2023-07-01",
    "S5": "MicrosoftDocs/azure-compute-docs linux/scheduled-events.md",
    "S6": "MicrosoftDocs/entra-docs how-to-use-vm-token.md (2025-02-27)",
    "S7": "MicrosoftDocs/azure-docs howto- and troubleshoot-load-balancer-imds.md",
    "S8": "MicrosoftDocs virtual-machine-scale-sets-terminate-notification.md",
    "S10": "AzureAD/microsoft-authentication-library-for-dotnet, MSI v2 notes and MockHelpers.cs",
    "S11": "Azure/GuestProxyAgent, canonical request notes and pentest notes",
    "S12": "canonical/cloud-init sources/azure/imds.py and its tests",
    "S13": "Azure/WALinuxAgent protocol/imds.py and tests/data/imds",
    "S14": "Azure/azure-init libazureinit/src/imds.rs and issue 134 (2024)",
    "S15": "Azure/azure-container-networking cns/imds client and recorded computeMetadata.json",
    "S16": "kubernetes-sigs/cloud-provider-azure azure_instance_metadata.go and its tests",
    "S17": "kubernetes-sigs/dranet pkg/cloudprovider/azure",
    "S18": "SUSE-Enceladus/azuremetadata fixtures (2020) and cloud-netconfig",
    "S21": "gravitational/teleport lib/cloud/imds/azure",
    "S22": "hashicorp/nomad env_azure fingerprint and its early test (2017)",
    "S25": "sap.sap_operations azure_imds module, pasted output of 2023-10-02",
    "S26": "a recorded full instance document of 2025-10 with extended=true",
    "S27": "a Go struct of the full instance document (Cilium, 2024-2025)",
    "S28": "metadataenum scripts (2026)",
    "S29": "pasted raw response headers of 2020, 2022, 2024 and 2026",
    "S30": "issue and pull-request threads of azure-docs, azure-compute-docs, terraform and SDKs",
    "S31": "README of the 2017-03-01 preview with real output",
    "S32": "Azure-Samples/scheduled-events-mock-server main.py",
    "S33": "a decoded managed-identity token (2020) and the claim checks of Vault and step-ca",
    "S34": "recorded scheduled-events documents (2019 Freeze, 2024 Spot Preempt)",
    "S37": "scylladb/scylla-machine-image format=text fixtures",
    "S38": "Azure/vm-scheduled-events, Node sample (2021)",
    "S39": "systemd hardware database entry for Azure IMDS (2026)",
    "S40": "MicrosoftDocs app-service overview-managed-identity.md, REST reference, 2017 to 2026",
    "S41": "azure-identity and msal (Python): App Service, Arc, Azure ML and Cloud Shell",
    "S42": "pasted answers of App Service's token endpoint (azure-docs 53726; MSAL's live tests)",
    "S43": "MicrosoftDocs cloud-shell msi-authorization.md, tutorials of the VM extension (2017)",
    "S44": "AzureAD MSAL threads on user-assigned identities of Arc (js 8761, python 944 and 962)",
    "S45": "MicrosoftDocs azure-arc managed-identity-authentication.md (azure-docs 117847)",
    "S46": "answers of the Arc agent in the tests of azure_identity (Rust)",
    "S47": "MicrosoftDocs spot-eviction-risk-notifications; openshift/cluster-api-actuator-pkg#481",
    "S48": "reported outages: ignition 1806, azure-init 242, azure-sdk-for-net 39574, kops 18163",
    "S49": "runs of Azure.Identity 1.10.2 to 1.21.0, Azure.Core 1.53 to 1.64, JDK 17 (2026-11)",
    "S50": "runs of the identity libraries of Python, JavaScript, Java, Go and Rust (2026-11-29)",
    "S51": "release notes: Azure Identity for .NET 1.14 to 1.20, Java 1.16.1, 1.18.1, C++ 1.13.2",
    "S52": "AzureAD/microsoft-authentication-library-for-java 1037, in msal4j 1.26 (2026-08)",
    "S53": "SPIRE azure_imds, gravitational/teleport 62158, kubernetes/kops 18163, coder (2026)",
    "S60": "AKS node notes of 2025-02-04: curl -I and curl without the header",
    "S61": "five recorded token answers, 2022-07, 2023-03, 2025-09, 2025-11, 2025-12",
    "S62": "recorded instance answers of Mondoo's azcompute provider and write-ups (2023 to 2025)",
    "S63": "a VM of a gallery image, recording of 2025-02",
    "S64": "MSAL for .NET, managed-identity sources and msiv1_token_revocation.md (2026-07)",
    "S65": "RedHatInsights/insights-core 3251: a transcript of 2021-10-08 at 2018-10-01",
    "S66": "a public host log of 2023-10-03: byte counts of IMDS answers",
    "S67": "Azure Arc jumpstart: a recorded instance document of the agent; the agent's documents",
    "S68": "azure-docs, trusted hardware identity management; az-snp-vtpm, az-tdx-vtpm",
    "S69": "Azure/azure-stack-docs: Azure verification for VMs; Azure Stack Hub's IMDS (2022-02)",
    "S70": "gravitational/teleport 69763 and 69771 (2026-09): container instances",
    "S71": "Azure/GuestProxyAgent, Azure/WALinuxAgent, Azure/azure-init, sources and test data",
    "S72": "kubernetes/kops 18163, gravitational/teleport 62158 and 66764, SPIRE azure_msi",
    "S73": "ten attested documents of 2019-12 to 2026-07, decoded byte by byte",
    "S74": "pableess/Bleess.Azure.VM.Metadata (2021-03); the log in Azure/vm-scheduled-events",
    "S75": "Azure/azure-storage-azcopy 2486 (2023-12): the body of a 410",
    "S76": "azure-sdk-for-net 32786, 41787, 43618, 44685, 45808; dotnet/SqlClient 2343: headers",
    "S77": "runs of Azure.Identity, Azure.Core, PowerShell 7.6.9 and JDK 17 against 0.1.0",
    "S78": "Microsoft's support pages on IMDS certificates and the activation watermark",
    "S79": "CA/Browser Forum baseline requirements (2026): CRL and OCSP periods",
    "S80": "MSAL for .NET 3979, 5077, 5501, 5581; azure-sdk-for-net 26578, 43691; azure-cli 20196",
    "S81": "logs of App Service and Container Apps in public issues (2020-03, 2023-07)",
    "S82": "Posh-ACME 562 (2024-08); Azure/CloudShell 109, 155, 351, 477",
    "S83": "azure-docs 15282, 47992; azure-sdk-for-net 37278, 46932, 49174; docker-tools 1300",
    "S84": "payloads of seven managed-identity tokens, 2022-01 to 2025-11",
    "S85": "Azure/AKS 3719 (2023), a Spot walk-through (2022-08), a Go test file (2021-03)",
    "S86": "MicrosoftDocs/azure-docs, management/resource-name-rules.md",
    "S90": "azure-sdk-for-net 18362, 28218, 38218, 42134; js 26898; python 20554, 35938",
    "S130": "taskcluster 8569, 4805; teleport 66727, 66764, 68004; coder 25243, 25418; SPIRE 6952",
    "S131": "Azure-DCAP-Client 72, fido conformance 633, check_ssl_cert 83, botan 5785 (2026)",
    "S132": "RFC 6960, RFC 5019 and RFC 9654: OCSP, its lightweight profile, and nonces",
    "S92": "entra-docs access-token-claims-reference, optional claims; azure-docs 28514 (2019)",
    "S95": "taskcluster 8569; Teleport 66727, 66764; coder 25243, 25418; SPIRE 6952 (2026)",
    "S96": "taskcluster 3638, 3893, 4805 (2020, 2021); coder 13028 (2024); Teleport 61766 (2025)",
    "S94": "Azure/azure-sdk-for-cpp 6698 (2025-08): the answer to a path that begins with //",
    "S93": "terricain/certbot-dns-azure 54 (2025-02): the answer to a proxy's X-Forwarded-For",
    "S91": "RedHatInsights/insights-core 3565 (2022), netdata 14775 (2023), guardicore/monkey 902",
    "S125": "siderolabs/talos 8555 (2024-04): Azure Stack Hub refuses the api-version 2021-12-13",
    "S111": "scripts that ask Arc's agent: a collector of logs, tests of its status",
    "S120": "microsoft/archived-confidential-sidecar-containers 31; hcsshim's parser of the answer",
    "S121": "MicrosoftDocs/azure-compute-docs: the DCas, ECas, DCes and ECes series of sizes",
    "S122": "google/go-sev-guest 0.15.0, verify and kds; AMD's interface specification 57230",
    "S123": "google/go-tdx-guest 0.3.1, verify, abi and pcs; Intel trustauthority-client",
    "S124": "runs of the verifiers of the JDK, OpenSSL, Ruby, Go, Python, JavaScript (2026-11-29)",
    "S126": "runs of the verifiers of kops, coder and SPIRE at Azure's PKI hosts (2026-11-30)",
    "S110": "a recorded /metadata/versions of 2026, which ends at 2025-11-11",
}
"""The sources by the keys that rows name."""
