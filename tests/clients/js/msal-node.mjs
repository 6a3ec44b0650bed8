// Gets tokens by @azure/msal-node: cases as JSON on stdin, their results as one line of JSON.

import { readFileSync } from "node:fs";

import { ManagedIdentityApplication } from "@azure/msal-node";

async function outcome({ identity, resource }) {
  try {
    const application = new ManagedIdentityApplication({
      managedIdentityIdParams: identity,
      system: { disableInternalRetries: true },
    });
    const got = await application.acquireToken({ resource });
    return { token: got.accessToken, expires_s: Math.floor(got.expiresOn.getTime() / 1000) };
  } catch (error) {
    return { error: error.name, code: error.errorCode, message: error.message };
  }
}

const results = [];
for (const item of JSON.parse(readFileSync(0, "utf8"))) {
  results.push(await outcome(item));
}
console.log(JSON.stringify(results));
