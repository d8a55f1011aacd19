package main

import (
	"os/exec"
	"strings"
	"testing"
)

// TestHeavyPackagesAreNotLinked says which package it was when the program does not fit into its size any more.
func TestHeavyPackagesAreNotLinked(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	instead := map[string]string{
		"encoding/json":                        "cmd/kudev/internal/json, 300 kB less with log/slog",
		"log/slog":                             "modload.Logger, of which it links an implementation and encoding/json",
		"regexp":                               "modload/ere, 220 kB less",
		"text/tabwriter":                       "the table of this package",
		"html":                                 "strings.Replacer",
		"text/template":                        "fmt; it keeps every exported method of the program",
		"net/http":                             "nothing",
		"github.com/fsnotify/fsnotify":         "modload/inotify",
		"github.com/pilebones/go-udev/netlink": "hotplug; in tests it is the outside reader",
		"github.com/google/go-cmp/cmp":         "slices.Equal; it is for tests",
		"github.com/kudev/kudev/modload/modloadtest": "modload; it is for tests",
	}
	packages := strings.Fields(string(out))
	if len(packages) < 50 {
		t.Errorf("only %d packages: this test must see all", len(packages))
	}
	for _, p := range packages {
		if use, ok := instead[p]; ok {
			t.Errorf("the program links %s: use %s", p, use)
		}
	}
}
