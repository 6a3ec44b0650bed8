// A service that verifies attested documents.
package main

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/smallstep/pkcs7"
)

var roots, issuers = x509.NewCertPool(), x509.NewCertPool()

// verified returns the payload of a document, or the reason to refuse it.
func verified(body []byte, nonce, vmID string) ([]byte, error) {
	var document struct{ Signature string }
	if err := json.Unmarshal(body, &document); err != nil {
		return nil, err
	}
	der, err := base64.StdEncoding.DecodeString(document.Signature)
	if err != nil {
		return nil, err
	}
	envelope, err := pkcs7.Parse(der)
	if err != nil {
		return nil, err
	}
	signer := envelope.GetOnlySigner()
	if signer == nil {
		return nil, errors.New("no signer, or several")
	}
	// Azure writes an algorithm of signatures in the place of the digest's.
	envelope.Signers[0].DigestAlgorithm.Algorithm = pkcs7.OIDDigestAlgorithmSHA256
	if err := envelope.Verify(); err != nil {
		return nil, err
	}
	// The purpose is that of a server by default. Go looks no revocation up.
	_, err = signer.Verify(x509.VerifyOptions{
		DNSName: "metadata.azure.com", Roots: roots, Intermediates: issuers,
	})
	if err != nil {
		return nil, err
	}
	var payload struct {
		Nonce, VMID string
		TimeStamp   struct{ ExpiresOn string }
	}
	if err := json.Unmarshal(envelope.Content, &payload); err != nil {
		return nil, err
	}
	expires, err := time.Parse("01/02/06 15:04:05 -0700", payload.TimeStamp.ExpiresOn)
	if err != nil {
		return nil, err
	}
	if payload.Nonce != nonce || payload.VMID != vmID || time.Now().After(expires) {
		return nil, errors.New("another nonce, another VM, or expired")
	}
	return envelope.Content, nil
}

func verify(answer http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(answer, request.Body, 1<<16))
	if err == nil {
		query := request.URL.Query()
		body, err = verified(body, query.Get("nonce"), query.Get("vmId"))
	}
	if err != nil {
		http.Error(answer, err.Error(), http.StatusForbidden)
		return
	}
	answer.Write(body)
}

func main() {
	bundle, err := os.ReadFile("trust.pem")
	if err != nil {
		panic(err)
	}
	for block, rest := pem.Decode(bundle); block != nil; block, rest = pem.Decode(rest) {
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			panic(err)
		}
		if certificate.CheckSignatureFrom(certificate) == nil {
			roots.AddCert(certificate)
		} else {
			issuers.AddCert(certificate)
		}
	}
	http.HandleFunc("POST /verify", verify)
	listener, err := net.Listen("tcp", "127.0.0.1:8180")
	if err != nil {
		panic(err)
	}
	fmt.Println("ready")
	panic(http.Serve(listener, nil))
}
