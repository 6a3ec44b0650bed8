"""The tables: each general api-version, with the part of the golden VM that it added.

Transcribed by hand from imds-wire.md (B.1, B.3, C.1 to C.4 and K), never from the product's rows.
A new api-version or field is one entry of `ADDED`, here and nowhere else: the documents of all
versions, the newest versions in errors and the targets of cases follow.
"""

from tests.golden.document import Json

_GROUP = "/subscriptions/1f2e3d4c-5b6a-4978-8899-aabbccddeeff/resourceGroups/Golden-Lab"
_COMPUTE = f"{_GROUP}/providers/Microsoft.Compute"
_VAULTS = f"{_GROUP}/providers/Microsoft.KeyVault/vaults"

# B.1 and B.3, oldest first. An array of a later version has an element for each element of the
# earlier ones: the fields of both meet in it. A version that added nothing to the instance document
# has an empty entry.
ADDED: dict[str, Json] = {
    "2017-03-01": {
        "compute": {
            "location": "westus2",
            "name": "golden-set_f9ae3d85",
            "offer": "0001-com-ubuntu-server-jammy",
            "osType": "Linux",
            "platformFaultDomain": "1",
            "platformUpdateDomain": "12",
            "publisher": "Canonical",
            "sku": "22_04-lts-gen2",
            "version": "22.04.202407160",
            "vmId": "02aab8a4-74ef-476e-8182-f6d2ba4166a6",
            "vmSize": "Standard_D8ds_v5",
        },
        "network": {
            "interface": [
                {
                    "ipv4": {
                        "ipAddress": [
                            {"privateIpAddress": "10.0.0.4", "publicIpAddress": "20.1.2.3"},
                            {"privateIpAddress": "10.0.0.5", "publicIpAddress": ""},
                        ],
                        "subnet": [
                            {
                                "address": "10.0.0.0",
                                "dnsservers": [{"ipaddress": "10.0.0.10"}],
                                "prefix": "24",
                            }
                        ],
                    },
                    "ipv6": {"ipAddress": [{"privateIpAddress": "fd00:db8:deca::4"}]},
                    "macAddress": "000D3AACB22A",
                },
                {
                    "ipv4": {
                        "ipAddress": [{"privateIpAddress": "10.0.1.4", "publicIpAddress": ""}],
                        "subnet": [{"address": "10.0.1.0", "dnsservers": [], "prefix": "26"}],
                    },
                    "ipv6": {"ipAddress": []},
                    "macAddress": "000D3AACB22B",
                },
            ]
        },
    },
    "2017-04-02": {},
    "2017-08-01": {
        "compute": {
            "placementGroupId": "e3b0c442-98fc-4c14-9afb-f4c8996fb924",
            "resourceGroupName": "Golden-Lab",
            "subscriptionId": "1f2e3d4c-5b6a-4978-8899-aabbccddeeff",
            "tags": "env:golden;owner:Zoë:platform",
        }
    },
    "2017-10-01": {},
    "2017-12-01": {"compute": {"vmScaleSetName": "golden-set", "zone": "2"}},
    "2018-02-01": {},
    "2018-04-02": {
        "compute": {
            "plan": {
                "name": "golden-plan",
                "product": "golden-product",
                "publisher": "golden-plan-publisher",
            },
            "publicKeys": [
                {
                    "keyData": "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQC7golden+first/line"
                    "\r\nQ2sEcondLineOfTheSameKey== azureuser@golden",
                    "path": "/home/azureuser/.ssh/authorized_keys",
                }
            ],
        }
    },
    "2018-10-01": {
        "compute": {"azEnvironment": "AzurePublicCloud", "provider": "Microsoft.Compute"}
    },
    # The swagger drops customData from 2019-06-01 on, every recording has it (C.1).
    "2019-02-01": {"compute": {"customData": ""}},
    "2019-03-11": {"compute": {"resourceId": f"{_COMPUTE}/virtualMachines/golden-set_f9ae3d85"}},
    "2019-04-30": {},
    "2019-06-01": {
        "compute": {
            "storageProfile": {
                "dataDisks": [
                    {
                        "caching": "None",
                        "createOption": "Empty",
                        "diskSizeGB": "256",
                        "image": {"uri": ""},
                        "lun": "0",
                        "managedDisk": {
                            "id": f"{_COMPUTE}/disks/golden-data-0",
                            "storageAccountType": "UltraSSD_LRS",
                        },
                        "name": "golden-data-0",
                        "vhd": {"uri": ""},
                        "writeAcceleratorEnabled": "false",
                    },
                    {
                        "caching": "ReadOnly",
                        "createOption": "FromImage",
                        "diskSizeGB": "1023",
                        "image": {
                            "uri": "https://goldenstore.blob.core.windows.net/images/data-1.vhd"
                        },
                        "lun": "1",
                        "managedDisk": {"id": "", "storageAccountType": ""},
                        "name": "golden-data-1",
                        "vhd": {"uri": "https://goldenstore.blob.core.windows.net/vhds/data-1.vhd"},
                        "writeAcceleratorEnabled": "true",
                    },
                ],
                "imageReference": {
                    "id": "",
                    "offer": "0001-com-ubuntu-server-jammy",
                    "publisher": "Canonical",
                    "sku": "22_04-lts-gen2",
                    "version": "latest",
                },
                "osDisk": {
                    "caching": "ReadWrite",
                    "createOption": "FromImage",
                    "diskSizeGB": "30",
                    "encryptionSettings": {"enabled": "true"},
                    "image": {"uri": ""},
                    "managedDisk": {
                        "id": f"{_COMPUTE.replace('Golden-Lab', 'GOLDEN-LAB')}/disks/golden-os",
                        "storageAccountType": "Premium_LRS",
                    },
                    "name": "golden-os",
                    "osType": "Linux",
                    "vhd": {"uri": ""},
                    "writeAcceleratorEnabled": "false",
                },
            }
        }
    },
    # The swagger omits tagsList in 2019-08-15 and 2019-11-01, a recording of 2019-08-15 has it.
    "2019-06-04": {
        "compute": {
            "tagsList": [
                {"name": "env", "value": "golden"},
                {"name": "owner", "value": "Zoë:platform"},
            ]
        }
    },
    "2019-08-01": {
        "compute": {"storageProfile": {"osDisk": {"diffDiskSettings": {"option": "Local"}}}}
    },
    "2019-08-15": {},
    "2019-11-01": {},
    "2020-06-01": {
        "compute": {
            "isHostCompatibilityLayerVm": "false",
            "securityProfile": {"secureBootEnabled": "true", "virtualTpmEnabled": "true"},
        }
    },
    "2020-07-15": {
        "compute": {"osProfile": {"adminUsername": "azureuser", "computerName": "golden-set4XQZ7B"}}
    },
    "2020-09-01": {"compute": {"licenseType": ""}},
    "2020-10-01": {"compute": {"osProfile": {"disablePasswordAuthentication": "true"}}},
    "2020-12-01": {"compute": {"evictionPolicy": "Deallocate", "priority": "Spot"}},
    "2021-01-01": {"compute": {"userData": "I2Nsb3VkLWNvbmZpZwpob3N0bmFtZTogZ29sZGVuPwo="}},
    "2021-02-01": {"compute": {"storageProfile": {"resourceDisk": {"size": "307200"}}}},
    "2021-03-01": {
        "compute": {
            "extendedLocation": {"name": "microsoftlosangeles", "type": "edgeZone"},
            "virtualMachineScaleSet": {"id": f"{_COMPUTE}/virtualMachineScaleSets/golden-set"},
        }
    },
    "2021-05-01": {
        "compute": {
            "storageProfile": {
                "dataDisks": [
                    {
                        "bytesPerSecondThrottle": "979202048",
                        "diskCapacityBytes": "274877906944",
                        "isSharedDisk": "false",
                        "isUltraDisk": "true",
                        "opsPerSecondThrottle": "65280",
                    },
                    {
                        "bytesPerSecondThrottle": "",
                        "diskCapacityBytes": "",
                        "isSharedDisk": "",
                        "isUltraDisk": "false",
                        "opsPerSecondThrottle": "",
                    },
                ]
            }
        }
    },
    "2021-08-01": {},
    "2021-10-01": {"compute": {"platformSubFaultDomain": "5"}},
    "2021-11-01": {
        "compute": {
            "additionalCapabilities": {"hibernationEnabled": "false"},
            "securityProfile": {"encryptionAtHost": "false"},
            "storageProfile": {
                "osDisk": {
                    "encryptionSettings": {
                        "diskEncryptionKey": {
                            "secretUrl": "https://golden-disk.vault.azure.net/secrets/"
                            "F825A67F-42B8-4F01-8BB5-A99223A9FD05/8e820e1f85be483ab51c028aa710acfc",
                            "sourceVault": {"id": f"{_VAULTS}/golden-disk"},
                        },
                        "keyEncryptionKey": {
                            "keyUrl": "https://golden-key.vault.azure.net/keys/wrap/1d9f0a2b3c4d5e6f708192a3b4c5d6e7",
                            "sourceVault": {"id": f"{_VAULTS}/golden-key"},
                        },
                    }
                }
            },
        }
    },
    "2021-11-15": {
        "compute": {
            "host": {"id": f"{_COMPUTE}/hostGroups/golden-hosts/hosts/golden-host-1"},
            "hostGroup": {"id": ""},
        }
    },
    "2021-12-13": {"compute": {"securityProfile": {"securityType": "TrustedLaunch"}}},
    "2023-07-01": {
        "compute": {
            "storageProfile": {
                "imageReference": {
                    "communityGalleryImageId": "/CommunityGalleries/"
                    "goldengallery-ab568100-7a05-4b31-9f7d-3aede6df4420/Images/2204Gen2/Versions/latest",
                    "exactVersion": "1.1686127202.30113",
                    "sharedGalleryImageId": "/SharedGalleries/Golden.Canary"
                    "/Images/jammy-gen2/Versions/latest",
                }
            }
        }
    },
    # N13: a recording has the one and lacks the other, which a document has here.
    "2023-11-15": {"compute": {"isVmInStandbyPool": "true"}},
    "2024-03-15": {"compute": {"physicalZone": "westus2-az3"}},
    # No document says which version brought the fields from here on: K chose.
    "2024-07-17": {},
    "2025-04-07": {
        "compute": {"systemFaultDomain": "4"},
        "network": {
            "interface": [
                {
                    "ipv4": {"ipAddressBlock": [{"address": "10.0.0.64", "prefix": "28"}]},
                    "ipv6": {"ipAddressBlock": [{"address": "fd00:db8:deca:1::", "prefix": "80"}]},
                },
                {"ipv4": {"ipAddressBlock": []}, "ipv6": {"ipAddressBlock": []}},
            ]
        },
    },
    # In no document: only clients name this version and those after it (B.1, K).
    "2025-07-24": {
        "network": {"interface": [{"interfaceCompartmentID": "7"}, {"interfaceCompartmentID": "8"}]}
    },
    "2025-11-11": {
        "compute": {
            "interconnectGroupId": "2deed8b4-d1e9-42be-a40a-9882201aa9f5",
            "interconnectSubgroupId": "6c3a1f70-94be-4d5e-b2a7-0e8d7c6b5a49",
        }
    },
    "2025-11-15": {},
}

VERSIONS = [*ADDED]
NEWEST = VERSIONS[-1]

# C.4: only the preview version had DNS servers ...
REMOVED = {"2017-04-02": "network.interface[].ipv4.subnet[].dnsservers"}

# ... and names of its own. That ipv6 used `ipaddress` too is inferred from ipv4.
PREVIEW = "2017-03-01"
PREVIEW_NAMES = {
    "ipAddress": "ipaddress",
    "privateIpAddress": "ipaddress",
    "publicIpAddress": "publicip",
    "macAddress": "mac",
}
