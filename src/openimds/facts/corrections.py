"""Corrections: seventy findings of 2026-11-29 about Azure, and the answer of this server to each.

Recordings, clients and documents that contradict or add to the rest of the facts. Where a finding
is about a response, the rows of the other files hold it; this list accounts for all of them.
"""

from enum import StrEnum

from msgspec import Struct

from openimds.facts.evidence import Evidence, chosen, client, documented, inferred, observed


class Adoption(StrEnum):
    """The answer of this server to a finding."""

    DONE = "implemented"
    CHOSEN = "chosen"
    """Implemented by an assumption: the finding leaves Azure's behaviour open."""
    PARTLY = "in part"
    ABSENT = "not offered"


class Correction(Struct, frozen=True):
    """One finding: the fact, the answer of this server, and the evidence.

    `question` is the part of Azure's behaviour that the finding leaves open, `nearest` the closest
    known fact.
    """

    number: int
    fact: str
    verdict: Adoption
    answer: str
    evidence: Evidence
    question: str = ""
    nearest: str = ""


_DONE, _CHOSEN = Adoption.DONE, Adoption.CHOSEN
_PARTLY, _ABSENT = Adoption.PARTLY, Adoption.ABSENT

CORRECTIONS: tuple[Correction, ...] = (
    Correction(
        1,
        "The front answers HEAD without the header: 400, text/xml, 323 bytes, Microsoft-IIS.",
        _DONE,
        "HEAD never reaches IMDS.",
        observed("S60"),
    ),
    Correction(
        2,
        "Its body is an error of WireServer with the code BadRequest.",
        _DONE,
        "The body's length is in the head; HEAD itself has no body.",
        inferred("S60", "S71"),
    ),
    Correction(
        3,
        "HEAD with the Metadata header is not recorded.",
        _CHOSEN,
        "It gets the same answer as HEAD without the header.",
        chosen("one rule for every HEAD"),
        question="What does IMDS answer to HEAD with the Metadata header?",
        nearest="HEAD without the header is the front's 400; a capture asks it (head).",
    ),
    Correction(
        4,
        "The front's headers come in the order Content-Length, Content-Type, Server, Date.",
        _DONE,
        "The order of all answers of the front.",
        observed("S60"),
    ),
    Correction(
        5,
        "A fresh token has expires_in 86400 and ext_expires_in 86399; a kept one counts down.",
        _DONE,
        "Both; the count begins with 86400 in the second of issue.",
        observed("S61"),
    ),
    Correction(
        6,
        "imageReference.exactVersion of a marketplace image equals compute.version.",
        _DONE,
        "By default.",
        observed("S26", "S62"),
    ),
    Correction(
        7,
        "compute.version of a gallery image is the last segment of an id with /versions/.",
        _DONE,
        "By default.",
        observed("S63", note="one of 2023 was empty"),
    ),
    Correction(
        8,
        'A leaf without format=text: 400 { "error": "Bad request" }.',
        _DONE,
        "At every api-version; recorded at 2018-10-01.",
        observed("S65"),
    ),
    Correction(
        9,
        "A listing has no final newline, and a trailing slash is accepted.",
        _DONE,
        "Both are rules of requests.",
        observed("S66"),
    ),
    Correction(
        10,
        "MSAL sends token_sha256_to_refresh to Service Fabric and App Service only.",
        _DONE,
        "It is accepted at App Service and, as an inferred row, at IMDS.",
        client("S64"),
    ),
    Correction(
        11,
        "App Service has the api-version 2025-03-30.",
        _DONE,
        "As 2019-08-01.",
        client("S64"),
    ),
    Correction(
        12,
        "SDKs of Go and JavaScript send claims with xms_az_nwperimid; other keys are 400.",
        _CHOSEN,
        "The key is accepted and changes no token, as none of the decoded ones has it (58).",
        client("S64", note="the 400 has no useful words; those here are assumed"),
        question=(
            "Which claim does a token have that was requested with xms_az_nwperimid, and what "
            "does the 400 for another key say?"
        ),
        nearest=(
            "No decoded token has the claim; MSAL has the key, and a 400 without a diagnostic."
        ),
    ),
    Correction(
        13,
        "The document at 2023-11-15 has isVmInStandbyPool and no physicalZone.",
        _DONE,
        "isVmInStandbyPool since 2023-11-15, physicalZone since 2024-03-15.",
        observed("S26", "S62", note="the api-version is inferred"),
    ),
    Correction(
        14,
        "Gen2 marketplace images of 2025 show Trusted Launch; without passwords there is a key.",
        _DONE,
        "By default where no image is written; the key has no private half.",
        observed("S62", "S63"),
    ),
    Correction(
        15,
        "The agent of Arc serves an instance document, identity/info and /agentstatus.",
        _DONE,
        "Below /arc with --arc-folder, where openimds env --for arc leads.",
        observed("S67"),
    ),
    Correction(
        16,
        "GET /metadata/THIM/amd/certification has the certificates of an AMD machine.",
        _DONE,
        "By the size of the VM, under roots of this server (openimds attest ca --of amd).",
        documented("S68"),
    ),
    Correction(
        17,
        "POST /acc/tdquote turns the report of an Intel TD into a quote.",
        _DONE,
        "By the size of the VM, under a root of this server (openimds attest ca --of intel).",
        client("S68"),
    ),
    Correction(
        18,
        "Certificates of SGX and endorsements live below /metadata/THIM.",
        _ABSENT,
        "404: Intel and AMD sign their contents, and clients of attestation read them.",
        client("S68"),
        question="What do the paths below /metadata/THIM/endorsement answer?",
        nearest="Clients have their paths, and read what Intel and AMD have signed.",
    ),
    Correction(
        19,
        "Azure Local has its attested document at 169.254.169.253.",
        _DONE,
        "kind: azure-local, in exec, namespaces and the rules of openimds host.",
        documented("S69"),
    ),
    Correction(
        20,
        "Container instances have tokens only, and take no other letter case than true.",
        _DONE,
        "kind: container-instance in the fleet file; other paths are 404.",
        client("S70"),
    ),
    Correction(
        21,
        "Verifiers want the issuer's certificate at the URL that the leaf names.",
        _DONE,
        "In this form on the public listener, and at Azure's hosts with pki_names azure.",
        client("S72"),
    ),
    Correction(
        22,
        "Entra's discovery has authorization_endpoint and token_endpoint, and /common/ keys.",
        _DONE,
        "The public listener has all of them; both endpoints refuse every request.",
        documented("S72"),
    ),
    Correction(
        23,
        "Only the primary address of the primary interface gets answers.",
        _DONE,
        "On demand: a matcher of faults (source) and a rule of the report.",
        documented("S1", "S2"),
    ),
    Correction(
        24,
        "Sets belong to a resource group: events have the scope of subscription, group and set.",
        _DONE,
        "In memory, in the store, in the admin API and in metrics.",
        documented("S5"),
    ),
    Correction(
        25,
        "Proxies between a client and IMDS answer 502, 504, 403 and 200 in HTML, or nothing.",
        _DONE,
        "The fault response sends them as named pages, and any other response.",
        client("S90", "S91"),
    ),
    Correction(
        26,
        "Scheduled events have an ETag without quotes, and If-None-Match gets 304.",
        _DONE,
        "The tag is DocumentIncarnation, which is assumed.",
        observed("S38", "S74", note="the value is not recorded"),
    ),
    Correction(
        27,
        "410 comes from the front, in XML with the code ResourceNotAvailable.",
        _DONE,
        "The fault status 410 has that body; that the head is the front's is inferred.",
        observed("S75", "S77"),
    ),
    Correction(
        28,
        "A 200 of the token endpoint has x-ms-request-id, an error has not; 429 has no phrase.",
        _DONE,
        "Both, for the 200s of all identity paths; their order is the instance document's.",
        observed("S76"),
    ),
    Correction(
        29,
        "App Service: Server Kestrel, chunked, X-CORRELATION-ID.",
        _DONE,
        "As recorded; a client of HTTP/1.0 gets Content-Length in its place.",
        observed("S76"),
    ),
    Correction(
        30,
        "The Metadata header is checked before anything else that is Azure's.",
        _DONE,
        "Before path and verb; only the identification of the caller comes earlier.",
        documented("S77"),
    ),
    Correction(
        31,
        "Metadata twice, or with two values.",
        _CHOSEN,
        "400, as without the header.",
        chosen("two lines are one field (RFC 9110, 5.3)"),
        question="What does IMDS answer to Metadata twice, or to Metadata: true, true?",
        nearest="Without the header it is 400; a capture asks it (header-listed).",
    ),
    Correction(
        32,
        "DefaultAzureCredential of .NET takes IMDS for present at 169.254.169.254 only.",
        _DONE,
        "openimds env sets AZURE_TOKEN_CREDENTIALS, which ends the probe.",
        observed("S77"),
    ),
    Correction(
        33,
        "Azure ML sets DEFAULT_IDENTITY_CLIENT_ID, without which .NET throws.",
        _DONE,
        "openimds env --for azure-ml sets it.",
        client("S77"),
    ),
    Correction(
        34,
        "Azure.Core 1.60 to 1.62 ask getplatformmetadata six times where it is 404.",
        _DONE,
        "404 by default, as hosts of version 1 answer; --msi-v2 has the endpoint.",
        client("S77"),
    ),
    Correction(
        35,
        "startRequests and eventId in camel case: Azure's answer is not known.",
        _CHOSEN,
        "400.",
        chosen("the documents have no such spelling"),
        question="Does IMDS take startRequests and eventId in camel case?",
        nearest="Documents and samples have StartRequests and EventId.",
    ),
    Correction(
        36,
        "The leaf of 2026-07: 180 days, serverAuth alone, twelve extensions in a fixed order.",
        _PARTLY,
        "By default, without signed timestamps: each promises an entry in a public log.",
        observed("S73"),
    ),
    Correction(
        37,
        "Its AIA has two CA Issuers and OCSP, its CDP one point with two URLs.",
        _DONE,
        "As recorded, all of the public listener.",
        observed("S73"),
    ),
    Correction(
        38,
        "Its chain has four certificates, and no CA certificate has name constraints.",
        _PARTLY,
        "A chain of four; name constraints stay, to protect those who trust our root.",
        observed("S73"),
    ),
    Correction(
        39,
        "Issuers and lifetimes by year, 2019 to 2026.",
        _DONE,
        "The setting attest_generation, attest rotate --generation, and attest rehearse.",
        observed("S73"),
    ),
    Correction(
        40,
        "Without CRL and OCSP addresses .NET, the JDK, PowerShell and Ruby refuse a chain.",
        _DONE,
        "CRLs and OCSP are served, and certificates have their addresses.",
        observed("S77", "S78"),
    ),
    Correction(
        41,
        ".NET takes the CRL and keeps it, the JDK takes OCSP.",
        _DONE,
        "A CRL for each leaf at an address of its own, and OCSP.",
        observed("S77"),
    ),
    Correction(
        42,
        "CRLs of end certificates appear every 7 days, OCSP answers live up to 10 days.",
        _DONE,
        "Lists are signed every 7 days and live 10, those of CAs 360; OCSP responses live 4.",
        documented("S79"),
    ),
    Correction(
        43,
        "getplatformmetadata with msi_res_id: 400 Unsupported query variables.",
        _DONE,
        "As recorded.",
        observed("S80"),
    ),
    Correction(
        44,
        "The limits of tokens are strict on 200s and forgiving on 400s.",
        _CHOSEN,
        "A limit of their own for 400s, ten times that of tokens.",
        documented("S80"),
        question="How many 400s of the token endpoint does a VM get in a second?",
        nearest="MSAL's maintainers call the limit much more forgiving than that of 200s.",
    ),
    Correction(
        45,
        "App Service without X-IDENTITY-HEADER (2019-08-01): 403 without a body.",
        _DONE,
        "As recorded.",
        observed("S80"),
    ),
    Correction(
        46,
        "A wrong secret: 401 at 2017-09-01, 403 at 2019-08-01, without a body.",
        _DONE,
        "As documented.",
        documented("S80", note="the empty body is inferred"),
    ),
    Correction(
        47,
        "App Service's 400s end with a correlationId.",
        _DONE,
        "Every refusal of App Service ends so; the GUID is the same for the same request.",
        observed("S81"),
    ),
    Correction(
        48,
        "App Service with user-assigned identities only and no id: Unable to load …",
        _DONE,
        "Both texts.",
        observed("S80"),
    ),
    Correction(
        49,
        "2017-09-01 with an unknown clientid: the token of the system-assigned identity.",
        _DONE,
        "As documented.",
        documented("S80"),
    ),
    Correction(
        50,
        "AADSTS500011 names the tenant by its display name, and a regional host.",
        _DONE,
        "The name is OpenIMDS for every tenant; the host is regional in the public cloud.",
        observed("S10", "S80", note="the host was seen once"),
    ),
    Correction(
        51,
        "Arc without api-version: The api-version not specified. Supported are …",
        _DONE,
        "In identity's envelope, which is assumed.",
        observed("S82", note="the envelope was not seen"),
    ),
    Correction(
        52,
        "Azure ML: a refused secret and a 404 are not JSON.",
        _CHOSEN,
        "Both texts, the second for the fault status 404. The status 401 is assumed.",
        observed("S83"),
        question=(
            "Which status does Azure ML's refusal of a secret have, and what follows the colon "
            "for a wrong one?"
        ),
        nearest=(
            "The text Invalid secret token header: was seen; App Service's status of "
            "2017-09-01 is 401."
        ),
    ),
    Correction(
        53,
        "App Service on Windows writes PascalCase; its 503 has six members.",
        _DONE,
        "The refusals of a VM with Windows but its 429, in the words of Linux; the 503 everywhere.",
        observed("S81", note="PascalCase from a client's test"),
        question="How does App Service on Windows write a token and a 429?",
        nearest="Its refusals are in PascalCase; clients read access_token on both systems.",
    ),
    Correction(
        54,
        "Cloud Shell answers IMDS's token path in its own envelope, and lists its audiences.",
        _DONE,
        "kind: cloud-shell in the fleet file; the recorded part of the list of audiences.",
        observed("S82"),
        question="Which audiences does Cloud Shell list after the first two?",
        nearest="The recorded list begins with the two of Azure Resource Manager and goes on.",
    ),
    Correction(
        55,
        "An unknown api-version was 404 until 2020-02, and is 400 by 2020-12.",
        _DONE,
        "400, as today.",
        observed("S83"),
    ),
    Correction(
        56,
        "Confirmed: the texts of 404, of Identity not found, of 429 and of the load balancer.",
        _DONE,
        "The rows of these refusals.",
        observed("S83"),
    ),
    Correction(
        57,
        "Behind the guest proxy agent 403, 421, 500 and 502 have no body.",
        _DONE,
        "On demand: the pages agent-403, -405, -421, -500 and -502 of the fault response.",
        observed("S71", note="the source of the agent"),
    ),
    Correction(
        58,
        "xms_az_nwperimid is in no decoded token.",
        _DONE,
        "Left out.",
        observed("S84"),
    ),
    Correction(
        59,
        "The claims of a token of 2025-11, and their order.",
        _DONE,
        "The claims and their order; opaque values are derived from the request.",
        observed("S84"),
    ),
    Correction(
        60,
        "With Trusted Launch isHostCompatibilityLayerVm is true.",
        _DONE,
        "By default: securityType and the three follow from each other.",
        observed("S62"),
    ),
    Correction(
        61,
        "A specialized disk (Attach): the image and the OS profile are empty.",
        _DONE,
        "By default where createOption is Attach.",
        observed("S62", note="one VM"),
    ),
    Correction(
        62,
        "Windows client images: licenseType Windows_Client, a client's build in version.",
        _DONE,
        "By default for the publisher microsoftwindowsdesktop.",
        observed("S62"),
    ),
    Correction(
        63,
        "resourceDisk.size is the temporary disk of the size, in MiB.",
        _DONE,
        "By default for the recorded sizes; any other size has 0.",
        observed("S62"),
    ),
    Correction(
        64,
        "The OS disk is also named VM_disk1_32-hex; the group is in upper case in its id.",
        _CHOSEN,
        "Both are accepted; the default is VM_OsDisk_1_ and the group as it is written.",
        observed("S62"),
        question=(
            "Which VMs have VM_disk1_32-hex, and which the group in upper case in managedDisk.id?"
        ),
        nearest="Three recordings have each; others have VM_OsDisk_1_ and the group as elsewhere.",
    ),
    Correction(
        65,
        "priority is empty on nearly all regular VMs.",
        _DONE,
        "Empty by default.",
        observed("S62"),
    ),
    Correction(
        66,
        "A Freeze lasts 6 or 30 seconds, a Preempt has -1.",
        _DONE,
        "A maintenance lasts 6 seconds by default, a Preempt has -1.",
        observed("S85"),
    ),
    Correction(
        67,
        "2019-11-01 has tagsList, 2021-10-01 platformSubFaultDomain and no encryptionAtHost.",
        _DONE,
        "The fields have these api-versions.",
        observed("S62"),
    ),
    Correction(
        68,
        "A /metadata/versions of 2026 ends at 2025-11-11.",
        _CHOSEN,
        "2025-11-15 is served, too; --newest-version 2025-11-11 ends the list as recorded.",
        observed("S62"),
        question="Does the list of any region have 2025-11-15?",
        nearest="A list of 2026 ends at 2025-11-11; two clients ask for 2025-11-15.",
    ),
    Correction(
        69,
        "Azure Stack Hub: some members are empty, versions end at 2021-05-01.",
        _DONE,
        "cloud: AzureStack in the fleet file: such a VM has these members, versions and paths.",
        documented("S69", "S125", note="that a later version is 400 is observed"),
        question="What does Azure Stack Hub answer for the categories that it lacks?",
        nearest=(
            "Its documentation lists five categories, three not available, and no scheduled events."
        ),
    ),
    Correction(
        70,
        "The order of the load balancer's lists and members is the wire's.",
        _DONE,
        "As recorded.",
        observed("S62", note="three recordings"),
    ),
)
