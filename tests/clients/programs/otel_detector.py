"""Runs OpenTelemetry's detector; prints the attributes."""

import json

from opentelemetry.resource.detector.azure.vm import AzureVMResourceDetector

if __name__ == "__main__":
    resource = AzureVMResourceDetector().detect()
    print(json.dumps([dict(resource.attributes)]))  # noqa: T201 - the result
