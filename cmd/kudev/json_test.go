package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kudev/kudev/hotplug"
)

// TestJSONIsJSON runs what prints JSON on a machine that has next to nothing: a program that reads it must not meet a
// null where it expects a list, nor text between the objects.
func TestJSONIsJSON(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"sys/devices/virtual/mem/null/uevent":    "MAJOR=1\nMINOR=3\nDEVNAME=null\n",
		"sys/module/loop/initstate":              "live\n",
		"proc/modules":                           "loop 32768 0 - Live 0x0\n",
		"lib/modules/6.1.0/modules.dep":          "",
		"lib/modules/6.1.0/modules.alias":        "",
		"lib/modules/6.1.0/modules.builtin":      "",
		"lib/modules/6.1.0/modules.order":        "",
		"etc/udev/rules.d/50-udev-default.rules": "KERNEL==\"null\", MODE=\"0666\"\n",
		"sys/class/.keep":                        "",
		"sys/bus/.keep":                          "",
		"run/.keep":                              "",
		"dev/.keep":                              "",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(root, "sys/class/mem"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../../devices/virtual/mem/null", filepath.Join(root, "sys/class/mem/null")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../../../../class/mem", filepath.Join(root, "sys/devices/virtual/mem/null/subsystem")); err != nil {
		t.Fatal(err)
	}
	for _, args := range []string{
		"config --json",
		"check --json",
		"lsmod --json",
		"resolve --json pci:x",
		"modules --json",
		"load --dry-run --json",
		"coldplug --dry-run --json",
		"info --json /devices/virtual/mem/null",
		"info --json=short /devices/virtual/mem/null",
		"info --export-db --json=short",
		"test --json --all /devices/virtual/mem/null",
		"explain --json --all /devices/virtual/mem/null",
		"explain --json pci:x",
	} {
		var out, errs bytes.Buffer
		e := newEnv()
		e.stdin, e.stdout, e.stderr = strings.NewReader(""), &out, &errs
		e.options.SystemRoot = root
		e.options.Uname = func() (string, error) { return "6.1.0", nil }
		e.roots = hotplug.Roots{Sys: root + "/sys", Dev: root + "/dev", Run: root + "/run"}
		status := run(context.Background(), e, append([]string{"kudev"}, strings.Fields(args)...))
		if status != 0 && !strings.HasPrefix(args, "check") { // which finds much here
			t.Errorf("kudev %s: exit status %d: %s", args, status, errs.String())
		}
		objects := 0
		for d := json.NewDecoder(&out); d.More(); objects++ {
			var v any
			if err := d.Decode(&v); err != nil {
				t.Errorf("kudev %s: %v", args, err)
				break
			}
			for _, path := range nulls(v, "") {
				t.Errorf("kudev %s: null at %s", args, path)
			}
		}
		if objects == 0 {
			t.Errorf("kudev %s: no JSON", args)
		}
	}
}

// nulls returns where a value holds null.
func nulls(v any, path string) (found []string) {
	switch v := v.(type) {
	case nil:
		return []string{path}
	case map[string]any:
		for k, inner := range v {
			found = append(found, nulls(inner, path+"."+k)...)
		}
	case []any:
		for _, inner := range v {
			found = append(found, nulls(inner, path+"[]")...)
		}
	}
	return found
}
