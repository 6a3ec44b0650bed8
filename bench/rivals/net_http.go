// The response of OpenIMDS from Go's net/http: net_http ADDRESS FILE_OF_THE_BODY.
//
// As nginx's, its request id is fixed and its other headers are its own. Limits, look-ups of the
// caller and checks of the request are left out, which favours it.
package main

import (
	"log"
	"net/http"
	"os"
	"strconv"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: net_http ADDRESS FILE_OF_THE_BODY")
	}
	body, err := os.ReadFile(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	length := strconv.Itoa(len(body))
	http.HandleFunc("/metadata/instance", func(w http.ResponseWriter, _ *http.Request) {
		header := w.Header()
		header.Set("Content-Length", length) // Beyond 2,048 bytes net/http would send chunks.
		header.Set("Content-Type", "application/json; charset=utf-8")
		header.Set("Server", "IMDS/150.870.65.1854")
		header.Set("x-ms-request-id", "5b1f6d3a-9c52-4e7d-8a3e-0f6c2b7d9e41")
		w.Write(body)
	})
	log.Fatal(http.ListenAndServe(os.Args[1], nil))
}
