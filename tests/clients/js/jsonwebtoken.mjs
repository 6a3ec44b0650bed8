// A resource server of a tenant: it finds keys by discovery and verifies with jsonwebtoken. Cases as
// JSON on stdin, their results as one line of JSON.

import { createPublicKey } from "node:crypto";
import { readFileSync } from "node:fs";

import jsonwebtoken from "jsonwebtoken";

async function json(url, headers = {}) {
  const got = await fetch(url, { headers });
  if (!got.ok) {
    throw new Error(`${url}: ${got.status}`);
  }
  return got.json();
}

async function outcome({ imds, discovery, resource }) {
  const query = new URLSearchParams({ "api-version": "2018-02-01", resource });
  const token = await json(`${imds}/metadata/identity/oauth2/token?${query}`, { Metadata: "true" });
  const document = await json(discovery);
  const { keys } = await json(document.jwks_uri);
  const { kid } = jsonwebtoken.decode(token.access_token, { complete: true }).header;
  const key = keys.find((candidate) => candidate.kid === kid);
  if (!key) {
    return { error: "no key of that name" };
  }
  try {
    const claims = jsonwebtoken.verify(
      token.access_token,
      createPublicKey({ key, format: "jwk" }),
      {
        algorithms: document.id_token_signing_alg_values_supported,
        audience: resource,
        issuer: document.issuer,
      },
    );
    return { claims };
  } catch (error) {
    return { error: error.name, message: error.message };
  }
}

const results = [];
for (const item of JSON.parse(readFileSync(0, "utf8"))) {
  results.push(await outcome(item));
}
console.log(JSON.stringify(results));
