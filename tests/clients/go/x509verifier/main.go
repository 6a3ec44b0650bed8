// Verify a chain by crypto/x509.
// Arguments: server or client, leaf, issuers, root, seconds or 0.
package main

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"strconv"
	"time"
)

func main() {
	purpose := x509.ExtKeyUsageServerAuth
	if os.Args[1] == "client" {
		purpose = x509.ExtKeyUsageClientAuth
	}
	block, _ := pem.Decode(read(os.Args[2]))
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		panic(err)
	}
	options := x509.VerifyOptions{
		DNSName:       "metadata.azure.com",
		Intermediates: pool(os.Args[3]),
		Roots:         pool(os.Args[4]),
		KeyUsages:     []x509.ExtKeyUsage{purpose},
	}
	if seconds, _ := strconv.ParseInt(os.Args[5], 10, 64); seconds > 0 {
		options.CurrentTime = time.Unix(seconds, 0)
	}
	if _, err := leaf.Verify(options); err != nil {
		fmt.Println(err)
	} else {
		fmt.Println("accepted")
	}
}

func pool(name string) *x509.CertPool {
	certificates := x509.NewCertPool()
	if !certificates.AppendCertsFromPEM(read(name)) {
		panic(name + " has no certificate")
	}
	return certificates
}

func read(name string) []byte {
	text, err := os.ReadFile(name)
	if err != nil {
		panic(err)
	}
	return text
}
