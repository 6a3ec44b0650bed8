// Verifies a TD quote of the server with go-tdx-guest, once by the given root and once without a
// root; prints the errors as a line of JSON.
package main

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"os"

	"github.com/google/go-tdx-guest/abi"
	pb "github.com/google/go-tdx-guest/proto/tdx"
	"github.com/google/go-tdx-guest/verify"
)

type kase struct {
	Url  string `json:"url"`
	Root string `json:"root"`
	Seed byte   `json:"seed"`
}

type result struct {
	Own        string `json:"own"`
	Rootless   string `json:"rootless"`
	ReportData []byte `json:"report_data"`
	Version    uint32 `json:"version"`
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func quote(url string, report []byte) []byte {
	body, err := json.Marshal(map[string]string{"report": base64.URLEncoding.EncodeToString(report)})
	if err != nil {
		log.Fatal(err)
	}
	got, err := http.Post(url, "application/json", bytes.NewReader(body))
	if err != nil {
		log.Fatal(err)
	}
	defer got.Body.Close()
	answer, err := io.ReadAll(got.Body)
	if err != nil || got.StatusCode != http.StatusOK {
		log.Fatal(got.Status, string(answer), err)
	}
	var members map[string]string
	if err := json.Unmarshal(answer, &members); err != nil {
		log.Fatal(err)
	}
	raw, err := base64.RawURLEncoding.DecodeString(members["quote"])
	if err != nil {
		log.Fatal(err)
	}
	return raw
}

func check(one kase) result {
	report := bytes.Repeat([]byte{one.Seed}, 1024)
	raw := quote(one.Url, report)
	parsed, err := abi.QuoteToProto(raw)
	if err != nil {
		log.Fatal(err)
	}
	body := parsed.(*pb.QuoteV4)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(one.Root))
	own, rootless := verify.DefaultOptions(), verify.DefaultOptions()
	own.TrustedRoots, rootless.TrustedRoots = pool, x509.NewCertPool()
	return result{
		Own:        text(verify.RawTdxQuote(raw, own)),
		Rootless:   text(verify.RawTdxQuote(raw, rootless)),
		ReportData: body.GetTdQuoteBody().GetReportData(),
		Version:    body.GetHeader().GetVersion(),
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
