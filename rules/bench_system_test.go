//go:build system

package rules

import (
	"os"
	"testing"

	"github.com/kudev/kudev/testdata/debian"
)

// debianRules is what Debian's udev package ships: sh testdata/debian/fetch puts it there.
func debianRules(tb testing.TB) []Source {
	tb.Helper()
	cache, err := debian.Cache()
	if err != nil {
		tb.Fatal(err)
	}
	dirs := []string{cache + "/udev/lib/udev/rules.d", cache + "/systemd/lib/udev/rules.d"}
	for _, dir := range dirs {
		if _, err := os.Stat(dir); err != nil {
			tb.Fatalf("%v: run sh testdata/debian/fetch", err)
		}
	}
	return Dirs(dirs...)
}

func TestDebiansRulesAreReadWithoutAProblem(t *testing.T) {
	set, problems := Parse(debianRules(t))
	for _, p := range problems {
		t.Error(p.Error())
	}
	rules := 0
	for _, f := range set.Files {
		rules += len(f.Rules)
	}
	t.Logf("%d files, %d rules", len(set.Files), rules)
	if len(set.Files) < 30 || rules < 390 {
		t.Errorf("%d files with %d rules were read", len(set.Files), rules)
	}
}

func BenchmarkEvaluateDebian(b *testing.B) { benchmark(b, debianRules(b)) }

func BenchmarkParseDebian(b *testing.B) {
	b.ReportAllocs()
	sources := debianRules(b)
	for b.Loop() {
		set, _ := Parse(sources)
		Compile(set, Options{})
	}
}
