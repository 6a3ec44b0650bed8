// Lets OpenTelemetry's detector find out where it runs; prints the attributes as a line of JSON.

import { azureVmDetector } from "@opentelemetry/resource-detector-azure";

const { attributes } = azureVmDetector.detect();
const found = {};
for (const [name, value] of Object.entries(attributes)) {
  found[name] = await value;
}
console.log(JSON.stringify([found]));
