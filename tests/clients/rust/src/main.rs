//! Gets tokens by azure_identity: cases as JSON on stdin, their results as one line of JSON.

use std::error::Error as _;
use std::sync::Arc;

use azure_core::credentials::TokenCredential;
use azure_core::error::{Error, ErrorKind};
use azure_identity::{ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId};
use serde::Deserialize;
use serde_json::{json, Value};

#[derive(Deserialize)]
struct Case {
    by: String,
    value: String,
    resource: String,
}

fn credential(case: &Case) -> azure_core::Result<Arc<ManagedIdentityCredential>> {
    let value = case.value.clone();
    let user_assigned_id = match case.by.as_str() {
        "client" => Some(UserAssignedId::ClientId(value)),
        "object" => Some(UserAssignedId::ObjectId(value)),
        "resource" => Some(UserAssignedId::ResourceId(value)),
        _ => None,
    };
    let options = ManagedIdentityCredentialOptions {
        user_assigned_id,
        ..Default::default()
    };
    ManagedIdentityCredential::new(Some(options))
}

async fn ask(case: &Case) -> azure_core::Result<Value> {
    let scope = format!("{}/.default", case.resource);
    let credential = credential(case)?;
    let got = credential.get_token(&[&scope], None).await?;
    let again = credential.get_token(&[&scope], None).await?;
    Ok(json!({
        "token": got.token.secret(),
        "expires_s": got.expires_on.unix_timestamp(),
        "again": again.token.secret() == got.token.secret(),
    }))
}

/// Returns the error of the credential with the body of IMDS from the errors below it.
fn refusal(error: &Error) -> Value {
    let mut below = error.source();
    let mut body = String::new();
    while let Some(one) = below {
        if let Some(ErrorKind::HttpResponse {
            raw_response: Some(raw),
            ..
        }) = one.downcast_ref::<Error>().map(Error::kind)
        {
            body = String::from_utf8_lossy(raw.body()).into_owned();
        }
        below = one.source();
    }
    json!({
        "error": format!("{:?}", error.kind()),
        "message": format!("{error}\n{body}"),
    })
}

#[tokio::main]
async fn main() {
    let cases: Vec<Case> = serde_json::from_reader(std::io::stdin()).expect("cases");
    let mut outcomes = Vec::new();
    for case in &cases {
        outcomes.push(ask(case).await.unwrap_or_else(|error| refusal(&error)));
    }
    println!("{}", serde_json::to_string(&outcomes).expect("outcomes"));
}
