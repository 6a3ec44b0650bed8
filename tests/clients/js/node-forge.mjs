// Verify a chain by node-forge, which has no check of a purpose of its own.
// Arguments: the package (one of two versions), leaf, issuers, root.

import { readFileSync } from "node:fs";

const [name, leaf, above, root] = process.argv.slice(2);
const { default: forge } = await import(name);

function certificates(file) {
  return readFileSync(file, "utf8")
    .match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g)
    .map((pem) => forge.pki.certificateFromPem(pem));
}

const store = forge.pki.createCaStore(certificates(root));
const chain = [...certificates(leaf), ...certificates(above)];
try {
  forge.pki.verifyCertificateChain(store, chain);
  console.log("accepted");
} catch (error) {
  console.log(error.error ?? error.message, error.message);
}
