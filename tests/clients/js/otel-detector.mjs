// Runs OpenTelemetry's detector; prints the attributes as a line of JSON.

import { azureVmDetector } from "@opentelemetry/resource-detector-azure";

const { attributes } = azureVmDetector.detect();
const results = {};
for (const [name, value] of Object.entries(attributes)) {
  results[name] = await value;
}
console.log(JSON.stringify([results]));
