"""Lets OpenTelemetry's detector find out where it runs; the attributes on stdout."""

import json

from opentelemetry.resource.detector.azure.vm import AzureVMResourceDetector

if __name__ == "__main__":
    found = AzureVMResourceDetector().detect()
    print(json.dumps([dict(found.attributes)]))  # noqa: T201 - its answer
