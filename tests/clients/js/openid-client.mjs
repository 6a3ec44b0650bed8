// A relying party: openid-client discovers an issuer, jose verifies a token by its keys. Cases as
// JSON on stdin, their results as one line of JSON.

import { readFileSync } from "node:fs";

import { createRemoteJWKSet, jwtVerify } from "jose";
import { allowInsecureRequests, discovery } from "openid-client";

async function outcome({ imds, issuer, resource, audience }) {
  const options = { execute: [allowInsecureRequests] };
  let metadata;
  try {
    metadata = (await discovery(new URL(issuer), "any", undefined, undefined, options)).serverMetadata();
  } catch (error) {
    return { error: error.code ?? error.name, message: error.message };
  }
  const query = new URLSearchParams({ "api-version": "2018-02-01", resource });
  const got = await fetch(`${imds}/metadata/identity/oauth2/token?${query}`, {
    headers: { Metadata: "true" },
  });
  const { access_token } = await got.json();
  const { payload } = await jwtVerify(access_token, createRemoteJWKSet(new URL(metadata.jwks_uri)), {
    algorithms: metadata.id_token_signing_alg_values_supported,
    audience,
    issuer: metadata.issuer,
  });
  return { metadata, claims: payload };
}

const results = [];
for (const item of JSON.parse(readFileSync(0, "utf8"))) {
  results.push(await outcome(item));
}
console.log(JSON.stringify(results));
