package modload

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kudev/kudev/modload/modloadtest"
)

// makeTree writes modules, by path below a new directory.
func makeTree(t *testing.T, modules map[string]modloadtest.Module) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "6.1.0-test")
	for path, m := range modules {
		if err := modloadtest.WriteModule(filepath.Join(dir, path), m); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func runDepmod(t *testing.T, o DepmodOptions) (log string, err error) {
	t.Helper()
	var b bytes.Buffer
	o.Log = slog.New(slog.NewTextHandler(&b, nil))
	if o.Config == nil {
		o.Config = []string{}
	}
	err = Depmod(context.Background(), o)
	return b.String(), err
}

func readIndexes(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "modules.") && e.Type().IsRegular() {
			data, err := os.ReadFile(filepath.Join(dir, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			files[e.Name()] = string(data)
		}
	}
	return files
}

func TestDependenciesComeFromSymbolsNearestFirst(t *testing.T) {
	dir := makeTree(t, map[string]modloadtest.Module{
		"top.ko":  {Needs: []string{"mid", "printk"}},
		"mid.ko":  {Exports: []string{"mid"}, Needs: []string{"base"}},
		"base.ko": {Exports: []string{"base"}},
	})
	if _, err := runDepmod(t, DepmodOptions{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(readIndexes(t, dir)["modules.dep"]), "\n")
	slices.Sort(lines)
	if d := cmp.Diff([]string{"base.ko:", "mid.ko: base.ko", "top.ko: mid.ko base.ko"}, lines); d != "" {
		t.Error(d)
	}
}

func TestFailureLeavesTheOldIndexes(t *testing.T) {
	dir := makeTree(t, map[string]modloadtest.Module{"a.ko": {Info: []string{"alias=old"}}})
	if _, err := runDepmod(t, DepmodOptions{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	before := readIndexes(t, dir)
	if err := modloadtest.WriteModule(filepath.Join(dir, "b.ko"), modloadtest.Module{Info: []string{"alias=new"}}); err != nil {
		t.Fatal(err)
	}
	// Where one of the new files is to be written, there is something else already.
	if err := os.MkdirAll(filepath.Join(dir, fmt.Sprintf("modules.symbols.%d.new", os.Getpid()), "occupied"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := runDepmod(t, DepmodOptions{Dir: dir}); err == nil || !strings.Contains(err.Error(), "could not create index modules.symbols") {
		t.Errorf("got %v", err)
	}
	if d := cmp.Diff(before, readIndexes(t, dir)); d != "" {
		t.Error(d)
	}
}

func TestCyclesAreNamedAndNothingIsWritten(t *testing.T) {
	dir := makeTree(t, map[string]modloadtest.Module{
		"a.ko": {Exports: []string{"a"}, Needs: []string{"b"}},
		"b.ko": {Exports: []string{"b"}, Needs: []string{"a"}},
		"c.ko": {Needs: []string{"a"}},
	})
	_, err := runDepmod(t, DepmodOptions{Dir: dir})
	var cycle *CycleError
	if !errors.As(err, &cycle) || cycle.Modules != 2 || len(cycle.Cycles) != 1 {
		t.Errorf("got %v", err)
	}
	if files := readIndexes(t, dir); len(files) > 0 {
		t.Errorf("wrote %v", files)
	}
}

func TestLeftoversOfAKilledRunAreRemoved(t *testing.T) {
	dir := makeTree(t, map[string]modloadtest.Module{"a.ko": {}})
	left := filepath.Join(dir, "modules.dep.99999999.new")
	if err := os.WriteFile(left, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := runDepmod(t, DepmodOptions{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(left); err == nil {
		t.Error("it is still there")
	}
}

func TestQuickDoesNothingUntilAModuleIsNewer(t *testing.T) {
	dir := makeTree(t, map[string]modloadtest.Module{"a.ko": {Info: []string{"alias=one"}}})
	if _, err := runDepmod(t, DepmodOptions{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	marked := filepath.Join(dir, "modules.alias")
	if err := os.WriteFile(marked, []byte("untouched"), 0o644); err != nil {
		t.Fatal(err)
	}
	dep, err := os.Stat(filepath.Join(dir, "modules.dep"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		newer bool
		want  string
	}{{false, "untouched"}, {true, "# Aliases extracted from modules themselves.\nalias one a\n"}} {
		when := dep.ModTime()
		if c.newer {
			when = when.Add(1)
		}
		if err := os.Chtimes(filepath.Join(dir, "a.ko"), when, when); err != nil {
			t.Fatal(err)
		}
		if _, err := runDepmod(t, DepmodOptions{Dir: dir, Quick: true}); err != nil {
			t.Fatal(err)
		}
		if got := readIndexes(t, dir)["modules.alias"]; got != c.want {
			t.Errorf("newer=%t: %q", c.newer, got)
		}
	}
}

func TestADamagedModuleIsSaidAndTheRestCounts(t *testing.T) {
	dir := makeTree(t, map[string]modloadtest.Module{"a.ko": {Info: []string{"alias=one"}}})
	if err := os.WriteFile(filepath.Join(dir, "bad.ko"), []byte("no module"), 0o644); err != nil {
		t.Fatal(err)
	}
	log, err := runDepmod(t, DepmodOptions{Dir: dir})
	if err != nil || !strings.Contains(log, "bad.ko") {
		t.Errorf("%v, log %s", err, log)
	}
	if got := readIndexes(t, dir); !strings.Contains(got["modules.alias"], "alias one a") || !strings.Contains(got["modules.dep"], "bad.ko:") {
		t.Errorf("%v", got)
	}
}

func TestUpdatesGoBeforeTheKernelsOwn(t *testing.T) {
	for _, c := range []struct{ config, want string }{
		{"", "updates/a.ko"},
		{"search built-in updates\n", "kernel/a.ko"},
		{"override a * kernel\n", "kernel/a.ko"},
		{"override a ^5[.] kernel\n", "updates/a.ko"},
		{"override a ^6[.]1 \\\n kernel\n", "kernel/a.ko"},
		{"exclude updates\n", "kernel/a.ko"},
		{"search extra \\\nupdates built-in\n", "updates/a.ko"},
	} {
		dir := makeTree(t, map[string]modloadtest.Module{"kernel/a.ko": {}, "updates/a.ko": {}})
		conf := filepath.Join(t.TempDir(), "x.conf")
		if err := os.WriteFile(conf, []byte(c.config), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := runDepmod(t, DepmodOptions{Dir: dir, Config: []string{conf}}); err != nil {
			t.Fatal(err)
		}
		if got := readIndexes(t, dir)["modules.dep"]; got != c.want+":\n" {
			t.Errorf("%q: got %q", c.config, got)
		}
	}
}

func TestUnresolvedSymbolsAndVersionsAreReported(t *testing.T) {
	dir := makeTree(t, map[string]modloadtest.Module{"a.ko": {Needs: []string{"printk", "gone"}, Weak: []string{"maybe"}}})
	symvers := filepath.Join(t.TempDir(), "Module.symvers")
	if err := os.WriteFile(symvers, []byte("0x00000001\tprintk\tvmlinux\tEXPORT_SYMBOL\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	log, err := runDepmod(t, DepmodOptions{Dir: dir, Symvers: symvers, ReportUnresolved: true, Show: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"needs unknown symbol gone", "disagrees about version of symbol printk"} {
		if !strings.Contains(log, want) {
			t.Errorf("not said: %s", want)
		}
	}
	if strings.Contains(log, "maybe") {
		t.Error("a weak symbol was reported")
	}
}

func TestDepmodStopsWithItsContext(t *testing.T) {
	dir := makeTree(t, map[string]modloadtest.Module{"a.ko": {}, "b.ko": {}})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := Depmod(ctx, DepmodOptions{Dir: dir, Config: []string{}}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if files := readIndexes(t, dir); len(files) > 0 {
		t.Errorf("wrote %v", files)
	}
}

func FuzzDepmodConfig(f *testing.F) {
	f.Add("search updates built-in external\noverride a * kernel\nexternal .* /ext\nexclude x y\n")
	f.Add("search \\\n a\\ b\n# c\noverride a [ x\n\\")
	f.Fuzz(func(t *testing.T, text string) {
		var c depmodConfig
		c.parse("fuzz", text, "6.1.0-test", slog.New(slog.DiscardHandler))
		c.prefers("/lib/modules/6.1.0-test", "/lib/modules/6.1.0-test/kernel/a.ko", "/lib/modules/6.1.0-test/updates/a.ko")
	})
}

func BenchmarkReadModule(b *testing.B) {
	b.ReportAllocs()
	path := filepath.Join(b.TempDir(), "a.ko")
	m := modloadtest.Module{Info: []string{"alias=pci:v*"}}
	for i := range 200 {
		m.Needs = append(m.Needs, fmt.Sprintf("symbol_%d", i))
	}
	if err := modloadtest.WriteModule(path, m); err != nil {
		b.Fatal(err)
	}
	r := &depReader{log: slog.New(slog.DiscardHandler)}
	for b.Loop() {
		r.done, r.uses = r.done[:0], r.uses[:0]
		r.read(&depModule{path: path})
	}
}
