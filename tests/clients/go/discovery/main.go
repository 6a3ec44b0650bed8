// Runs Prometheus's discovery of Azure machines until it finds some: its configuration as a case on
// stdin, in JSON, which is YAML; the target groups, or the first error of its log, as one line of
// JSON.
package main

import (
	"context"
	"encoding/json"
	"io"
	"log"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/discovery/azure"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"go.yaml.in/yaml/v2"
)

const most = 30 * time.Second

type outcome struct {
	Targets []map[string]string `json:"targets"`
	Log     string              `json:"log"`
}

func discoverer(text []byte, logs io.Writer) discovery.Discoverer {
	var configs []azure.SDConfig
	if err := yaml.Unmarshal(text, &configs); err != nil {
		log.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	refreshes := discovery.NewRefreshMetrics(registry)
	if err := refreshes.Register(); err != nil {
		log.Fatal(err)
	}
	metrics := configs[0].NewDiscovererMetrics(registry, refreshes)
	if err := metrics.Register(); err != nil {
		log.Fatal(err)
	}
	made, err := configs[0].NewDiscoverer(discovery.DiscovererOptions{
		Logger:  slog.New(slog.NewTextHandler(logs, nil)),
		Metrics: metrics,
		SetName: "azure",
	})
	if err != nil {
		log.Fatal(err)
	}
	return made
}

func main() {
	text, err := io.ReadAll(os.Stdin)
	if err != nil {
		log.Fatal(err)
	}
	logs := &errorLog{first: make(chan string, 1)}
	context, cancel := context.WithTimeout(context.Background(), most)
	defer cancel()
	groups := make(chan []*targetgroup.Group)
	go discoverer(text, logs).Run(context, groups)
	found := outcome{Targets: []map[string]string{}}
	select {
	case found.Log = <-logs.first:
	case got := <-groups:
		for _, group := range got {
			for _, target := range group.Targets {
				labels := map[string]string{}
				for name, value := range target {
					labels[string(name)] = string(value)
				}
				found.Targets = append(found.Targets, labels)
			}
		}
	case <-context.Done():
		log.Fatal("no target and no error before the deadline")
	}
	if err := json.NewEncoder(os.Stdout).Encode([]outcome{found}); err != nil {
		log.Fatal(err)
	}
}

// errorLog keeps the first error of a log.
type errorLog struct{ first chan string }

func (e *errorLog) Write(line []byte) (int, error) {
	if strings.Contains(string(line), "level=ERROR") {
		select {
		case e.first <- string(line):
		default:
		}
	}
	return len(line), nil
}
