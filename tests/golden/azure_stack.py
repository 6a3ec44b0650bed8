"""A VM of Azure Stack Hub: its entry in a fleet file, and its document.

Members and their order follow the sample in the product's documentation (N69, 2022-02). The values
are made up, but for those that differ from Azure: the environment and the empty texts.
"""

from tests.golden.document import Json

_SUBSCRIPTION = "5a4f1c0e-2b7d-4c58-9f3a-6d1e8b7c9a02"
_COMPUTE = f"/subscriptions/{_SUBSCRIPTION}/resourceGroups/edge/providers/Microsoft.Compute"
_DISK = "till-1_OsDisk_1_00112233445566778899aabbccddeeff"

NEWEST = "2021-05-01"
NEWEST_IN_ERRORS = ("2021-05-01", "2021-03-01", "2021-02-01")

ENTRY: dict[str, Json] = {
    "cloud": "AzureStack",
    "compute": {
        "location": "harbour",
        "resourceGroupName": "edge",
        "subscriptionId": _SUBSCRIPTION,
        "vmId": "7d0c6b1e-3f52-4a89-8e64-19b5a2f3c7d8",
        "vmSize": "Standard_DS1_v2",
        "publisher": "MicrosoftWindowsServer",
        "offer": "WindowsServer",
        "sku": "2019-Datacenter",
        "version": "17763.1.1",
        "osProfile": {"adminUsername": "keeper"},
        "storageProfile": {
            "imageReference": {"version": "17763.1.1"},
            "osDisk": {"name": _DISK},
        },
    },
    "network": {
        "interface": [
            {
                "macAddress": "001DD8000001",
                "ipv4": {
                    "ipAddress": [
                        {"privateIpAddress": "10.0.2.4", "publicIpAddress": "10.20.30.40"}
                    ]
                },
            }
        ]
    },
}

DOCUMENT: Json = {
    "compute": {
        "azEnvironment": "AzureStack",
        "customData": "",
        "evictionPolicy": "",
        "extendedLocation": {"name": "", "type": ""},
        "isHostCompatibilityLayerVm": "",
        "licenseType": "",
        "location": "harbour",
        "name": "till-1",
        "offer": "WindowsServer",
        "osProfile": {
            "adminUsername": "keeper",
            "computerName": "till-1",
            "disablePasswordAuthentication": "",
        },
        "osType": "Windows",
        "placementGroupId": "",
        "plan": {"name": "", "product": "", "publisher": ""},
        "platformFaultDomain": "0",
        "platformUpdateDomain": "0",
        "priority": "",
        "provider": "Microsoft.Compute",
        "publicKeys": [],
        "publisher": "MicrosoftWindowsServer",
        "resourceGroupName": "edge",
        "resourceId": f"{_COMPUTE}/virtualMachines/till-1",
        "securityProfile": {"secureBootEnabled": "", "virtualTpmEnabled": ""},
        "sku": "2019-Datacenter",
        "storageProfile": {
            "dataDisks": [],
            "imageReference": {
                "id": "",
                "offer": "WindowsServer",
                "publisher": "MicrosoftWindowsServer",
                "sku": "2019-Datacenter",
                "version": "17763.1.1",
            },
            "osDisk": {
                "caching": "ReadWrite",
                "createOption": "FromImage",
                "diffDiskSettings": {"option": ""},
                "diskSizeGB": "127",
                "encryptionSettings": {"enabled": "false"},
                "image": {"uri": ""},
                "managedDisk": {
                    "id": f"{_COMPUTE}/disks/{_DISK}",
                    "storageAccountType": "Premium_LRS",
                },
                "name": _DISK,
                "osType": "Windows",
                "vhd": {"uri": ""},
                "writeAcceleratorEnabled": "false",
            },
            "resourceDisk": {"size": ""},
        },
        "subscriptionId": _SUBSCRIPTION,
        "tags": "",
        "tagsList": [],
        "userData": "",
        "version": "17763.1.1",
        "virtualMachineScaleSet": {"id": ""},
        "vmId": "7d0c6b1e-3f52-4a89-8e64-19b5a2f3c7d8",
        "vmScaleSetName": "",
        "vmSize": "Standard_DS1_v2",
        "zone": "",
    },
    "network": {
        "interface": [
            {
                "ipv4": {
                    "ipAddress": [
                        {"privateIpAddress": "10.0.2.4", "publicIpAddress": "10.20.30.40"}
                    ],
                    "subnet": [{"address": "10.0.2.0", "prefix": "24"}],
                },
                "ipv6": {"ipAddress": []},
                "macAddress": "001DD8000001",
            }
        ]
    },
}
