// Asks @azure/identity for tokens: cases as JSON on stdin, one line of JSON with what came of each.

import { readFileSync } from "node:fs";

import { DefaultAzureCredential, ManagedIdentityCredential } from "@azure/identity";

const KINDS = { default: DefaultAzureCredential, managed: ManagedIdentityCredential };

// The SDK waits between tries; whoever is refused for good here is asked once.
const ONCE = { retryOptions: { maxRetries: 0 } };

async function outcome({ kind, identity, resource }) {
  try {
    const credential = new KINDS[kind]({ ...identity, ...ONCE });
    const got = await credential.getToken(`${resource}/.default`);
    return { token: got.token, expires_s: Math.floor(got.expiresOnTimestamp / 1000) };
  } catch (error) {
    return { error: error.name, message: error.message };
  }
}

const results = [];
for (const one of JSON.parse(readFileSync(0, "utf8"))) {
  results.push(await outcome(one));
}
console.log(JSON.stringify(results));
