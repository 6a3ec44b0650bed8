// Verifies the certificates of an AMD processor with go-sev-guest, once by the given root and once
// by AMD's; prints the errors and the versions as a line of JSON.
package main

import (
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"os"

	"github.com/google/go-sev-guest/abi"
	"github.com/google/go-sev-guest/kds"
	spb "github.com/google/go-sev-guest/proto/sevsnp"
	labi "github.com/google/go-sev-guest/testing"
	"github.com/google/go-sev-guest/verify"
	"github.com/google/go-sev-guest/verify/trust"
)

type kase struct {
	Url  string `json:"url"`
	Root string `json:"root"`
	Line string `json:"line"`
}

type result struct {
	Own  string `json:"own"`
	Amd  string `json:"amd"`
	Tcb  uint64 `json:"tcb"`
	Tcbm string `json:"tcbm"`
	Chip string `json:"chip"`
	Name string `json:"name"`
}

type collateral struct {
	Vcek  string `json:"vcekCert"`
	Tcbm  string `json:"tcbm"`
	Chain string `json:"certificateChain"`
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func der(text string) []byte {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		log.Fatal("no PEM: ", text)
	}
	return block.Bytes
}

func fetch(url string) collateral {
	request := must(http.NewRequest(http.MethodGet, url, nil))
	request.Header.Add("Metadata", "true")
	got := must(http.DefaultClient.Do(request))
	defer got.Body.Close()
	answer := must(io.ReadAll(got.Body))
	if got.StatusCode != http.StatusOK {
		log.Fatal(got.Status, string(answer))
	}
	var found collateral
	if err := json.Unmarshal(answer, &found); err != nil {
		log.Fatal(err)
	}
	return found
}

func check(one kase) result {
	found := fetch(one.Url)
	ask, ark, err := kds.ParseProductCertChain([]byte(found.Chain))
	if err != nil {
		log.Fatal(err)
	}
	vcek := der(found.Vcek)
	exts := must(kds.VcekCertificateExtensions(must(trust.ParseCert(vcek))))

	// No processor has signed this report: its signature is the last that the verifier looks at.
	raw := labi.TestRawReport([64]byte{})
	report := must(abi.ReportToProto(raw[:]))
	attestation := &spb.Attestation{
		Report:           report,
		CertificateChain: &spb.CertificateChain{VcekCert: vcek, AskCert: ask, ArkCert: ark},
	}
	product := must(kds.ParseProductName(exts.ProductName, abi.VcekReportSigner))
	options := func(roots map[string][]*trust.AMDRootCerts) *verify.Options {
		made := verify.DefaultOptions()
		made.DisableCertFetching, made.TrustedRoots, made.Product = true, roots, product
		return made
	}
	root := trust.AMDRootCertsProduct(one.Line)
	if err := root.Decode(ask, der(one.Root)); err != nil {
		log.Fatal(err)
	}
	own := map[string][]*trust.AMDRootCerts{one.Line: {root}}
	return result{
		Own:  text(verify.SnpAttestation(attestation, options(own))),
		Amd:  text(verify.SnpAttestation(attestation, options(nil))),
		Tcb:  uint64(exts.TCBVersion),
		Tcbm: found.Tcbm,
		Chip: hex.EncodeToString(exts.HWID),
		Name: exts.ProductName,
	}
}

func main() {
	var cases []kase
	if err := json.NewDecoder(os.Stdin).Decode(&cases); err != nil {
		log.Fatal(err)
	}
	results := []result{}
	for _, one := range cases {
		results = append(results, check(one))
	}
	if err := json.NewEncoder(os.Stdout).Encode(results); err != nil {
		log.Fatal(err)
	}
}
