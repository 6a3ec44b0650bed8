// Gets tokens by azidentity: cases as JSON on stdin, their results as one line of JSON.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

type given struct{ Kind, By, Value, Resource string }

type outcome struct {
	Token   string `json:"token,omitempty"`
	Expires int64  `json:"expires_s,omitempty"`
	Again   bool   `json:"again,omitempty"`
	Error   string `json:"error,omitempty"`
	Message string `json:"message,omitempty"`
}

var kinds = map[string]func(string) azidentity.ManagedIDKind{
	"client":   func(id string) azidentity.ManagedIDKind { return azidentity.ClientID(id) },
	"object":   func(id string) azidentity.ManagedIDKind { return azidentity.ObjectID(id) },
	"resource": func(id string) azidentity.ManagedIDKind { return azidentity.ResourceID(id) },
}

// once disables the retries of the SDK: here each refusal is final.
var once = azcore.ClientOptions{Retry: policy.RetryOptions{MaxRetries: -1}}

func credential(one given) (azcore.TokenCredential, error) {
	if one.Kind == "default" {
		return azidentity.NewDefaultAzureCredential(
			&azidentity.DefaultAzureCredentialOptions{ClientOptions: once})
	}
	options := azidentity.ManagedIdentityCredentialOptions{ClientOptions: once}
	if one.By != "" {
		options.ID = kinds[one.By](one.Value)
	}
	return azidentity.NewManagedIdentityCredential(&options)
}

func ask(one given) outcome {
	options := policy.TokenRequestOptions{Scopes: []string{one.Resource + "/.default"}}
	from, err := credential(one)
	if err != nil {
		log.Fatal(err)
	}
	got, err := from.GetToken(context.Background(), options)
	if err != nil {
		return outcome{Error: fmt.Sprintf("%T", err), Message: err.Error()}
	}
	again, err := from.GetToken(context.Background(), options)
	if err != nil {
		log.Fatal(err)
	}
	return outcome{Token: got.Token, Expires: got.ExpiresOn.Unix(), Again: again.Token == got.Token}
}

func main() {
	var cases []given
	if err := json.NewDecoder(os.Stdin).Decode(&cases); err != nil {
		log.Fatal(err)
	}
	outcomes := make([]outcome, len(cases))
	for number, one := range cases {
		outcomes[number] = ask(one)
	}
	if err := json.NewEncoder(os.Stdout).Encode(outcomes); err != nil {
		log.Fatal(err)
	}
}
