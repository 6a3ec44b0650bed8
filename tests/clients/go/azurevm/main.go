// Runs OpenTelemetry's detector; prints the attributes as a line of JSON.
package main

import (
	"context"
	"encoding/json"
	"log"
	"os"

	"go.opentelemetry.io/contrib/detectors/azure/azurevm"
)

func main() {
	all := azurevm.WithTagKeyFilter(func(string) bool { return true })
	found, err := azurevm.NewResourceDetector(all).Detect(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	attributes := map[string]any{}
	for _, one := range found.Attributes() {
		attributes[string(one.Key)] = one.Value.AsInterface()
	}
	if err := json.NewEncoder(os.Stdout).Encode([]any{attributes}); err != nil {
		log.Fatal(err)
	}
}
