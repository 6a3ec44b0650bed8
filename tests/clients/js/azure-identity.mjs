// Gets tokens by @azure/identity: cases as JSON on stdin, their results as one line of JSON.

import { readFileSync } from "node:fs";

import { DefaultAzureCredential, ManagedIdentityCredential } from "@azure/identity";

const KINDS = { default: DefaultAzureCredential, managed: ManagedIdentityCredential };

// The SDK waits between tries; here each refusal is final.
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
for (const item of JSON.parse(readFileSync(0, "utf8"))) {
  results.push(await outcome(item));
}
console.log(JSON.stringify(results));
