package modload

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestBootModulesComeFromTheCommandLineTheDirectoriesAndEtcModules(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"proc/cmdline":                     "quiet modules_load=one,two rd.modules_load=not-here modules-load=three\n",
		"etc/modules-load.d/b.conf":        "four\n# comment\n; comment\n\n  five  \n",
		"usr/lib/modules-load.d/b.conf":    "hidden\n",
		"usr/lib/modules-load.d/a.conf":    "six\nTwo\nfour\n",
		"usr/lib/modules-load.d/a.txt":     "ignored\n",
		"usr/lib/modules-load.d/.dot.conf": "ignored\n",
		"etc/modules":                      "# comment\nloop max_loop=8 max_part=1\nfive\n",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cfg, err := Resolve(Options{SystemRoot: root, Uname: func() (string, error) { return "1", nil }})
	if err != nil {
		t.Fatal(err)
	}
	list, problems := BootModules(cfg)
	want := []BootModule{
		{"one", "", "kernel command line"},
		{"two", "", "kernel command line"},
		{"three", "", "kernel command line"},
		{"six", "", "/usr/lib/modules-load.d/a.conf:1"},
		{"Two", "", "/usr/lib/modules-load.d/a.conf:2"},
		{"four", "", "/usr/lib/modules-load.d/a.conf:3"},
		{"five", "", "/etc/modules-load.d/b.conf:5"},
		{"loop", "max_loop=8 max_part=1", "/etc/modules:2"},
	}
	if d := cmp.Diff(want, list); d != "" || problems != nil {
		t.Error(d, problems)
	}
}

// That one of an alias's drivers finds nothing to drive does not hide why another was refused.
func TestNoDeviceIsNoFailureOfBootModulesAndHidesNone(t *testing.T) {
	f := newFixture(t, "a: | alias=x:*", "b: | alias=x:1", "c:")
	f.kernel.Fail = map[string]error{"a": unix.ENODEV, "b": unix.EINVAL, "c": unix.ENODEV}
	got := map[string]error{}
	f.loader(t).LoadBoot(t.Context(), []BootModule{{Name: "x:1"}, {Name: "c"}}, Request{}, func(o BootOutcome) { got[o.Name] = o.Err })
	if !errors.Is(got["x:1"], unix.EINVAL) || got["c"] != nil {
		t.Error(got)
	}
}
