//go:build system

package modload

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kudev/kudev/testdata/debian"
)

// debianTree is Debian's module tree, with kmod's own indexes.
func debianTree(t testing.TB) string {
	t.Helper()
	cache, err := debian.Cache()
	if err != nil {
		t.Fatal(err)
	}
	release, err := os.ReadFile(filepath.Join(cache, "linux/release"))
	if err != nil {
		t.Fatalf("Debian's kernel is not there: run sh testdata/debian/fetch (%v)", err)
	}
	return filepath.Join(cache, "linux/lib/modules", string(release))
}

// libkmod builds the program that looks up with libkmod.
func libkmod(t testing.TB) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "libkmod")
	if out, err := exec.Command("gcc", "-O2", "-o", program, "testdata/libkmod.c", "-lkmod").CombinedOutput(); err != nil {
		t.Fatalf("gcc or libkmod's headers are not there: run make packages (%v)\n%s", err, out)
	}
	return program
}

func askLibkmod(t testing.TB, program, dir string, aliases []string, args ...string) string {
	t.Helper()
	c := exec.Command(program, append([]string{dir}, args...)...)
	c.Stdin = strings.NewReader(strings.Join(aliases, "\n") + "\n")
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		t.Fatalf("libkmod %s: %v\n%s", args, err, &stderr)
	}
	return string(out)
}

func TestResolvingAgreesWithLibkmod(t *testing.T) {
	dir, program := debianTree(t), libkmod(t)
	x, err := OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var aliases []string
	for _, list := range modaliases(t, x, 60000) {
		aliases = append(aliases, list[:min(len(list), 1500)]...)
	}
	for name := range x.BuiltIns() {
		aliases = append(aliases, name)
	}
	n := 0
	for s := range x.Symbols() {
		if n++; n%20 == 0 {
			aliases = append(aliases, s)
		}
	}
	for e := range x.Modules() {
		aliases = append(aliases, e.Name)
	}
	for key := range x.tree.builtinAlias.pairs(x.tree) {
		aliases = append(aliases, key)
	}
	aliases = append(aliases, "char-major-116-1", "a]b", "x[", "", "fs-ext4", "usb:", "of:N*T*C*")
	aliases = slices.DeleteFunc(aliases, func(a string) bool { return a == "" })
	slices.Sort(aliases)
	ask := func() (answers string, hits int) {
		var b strings.Builder
		for _, a := range aliases {
			b.WriteString(a)
			sep := "\t"
			for m := range x.Match(a) {
				b.WriteString(sep + m.Module)
				sep = " "
			}
			if sep == "\t" {
				b.WriteString(sep)
			} else {
				hits++
			}
			b.WriteByte('\n')
		}
		return b.String(), hits
	}
	answers, hits := ask() // of the file, at the beginning
	if x.tree.alias.trie().compiled.Load() == nil {
		t.Error("the index was not compiled")
	}
	if again, _ := ask(); again != answers { // all of the compiled index
		t.Error("the compiled index gives other answers than its file")
	}
	want := askLibkmod(t, program, dir, aliases, "resolve")
	ours, theirs := strings.Split(answers, "\n"), strings.Split(want, "\n")
	bad := 0
	for i := range theirs {
		if i >= len(ours) || ours[i] != theirs[i] {
			if bad++; bad <= 20 {
				t.Errorf("libkmod %q, kudev %q", theirs[i], ours[min(i, len(ours)-1)])
			}
		}
	}
	t.Logf("%d aliases, %d of them with modules, %d differences", len(aliases), hits, bad)
}

// The text files beside the indexes, and the modules themselves, give what the indexes give.
func TestTextAndModulesResolveAsTheIndexDoes(t *testing.T) {
	dir := debianTree(t)
	x, err := OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	text := t.TempDir()
	for _, name := range []string{"modules.dep", "modules.alias", "modules.symbols", "modules.builtin", "modules.builtin.modinfo", "modules.order"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(text, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	bare := t.TempDir()
	for _, name := range []string{"modules.builtin", "modules.builtin.modinfo", "modules.order"} {
		if err := os.Symlink(filepath.Join(dir, name), filepath.Join(bare, name)); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("cp", "-rl", filepath.Join(dir, "kernel"), bare).CombinedOutput(); err != nil {
		if out, err = exec.Command("cp", "-r", filepath.Join(dir, "kernel"), bare).CombinedOutput(); err != nil {
			t.Fatalf("copy the modules: %v\n%s", err, out)
		}
	}
	var aliases []string
	for _, list := range modaliases(t, x, 40000) {
		aliases = append(aliases, list[:min(len(list), 500)]...)
	}
	for _, other := range []string{text, bare} {
		y, err := OpenDir(other)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range aliases {
			var want, got []string
			for m := range x.Match(a) {
				want = append(want, m.Module)
			}
			for m := range y.Match(a) {
				got = append(got, m.Module)
			}
			if !slices.Equal(got, want) {
				t.Fatalf("%s: %q gives %q, want %q", other, a, got, want)
			}
		}
		for e := range x.Modules() {
			f, ok := y.Lookup(e.Name)
			if !ok || !slices.Equal(e.Deps, f.Deps) {
				t.Fatalf("%s: %s needs %q, want %q", other, e.Name, f.Deps, e.Deps)
			}
		}
	}
}

// BenchmarkLookupAgainstLibkmod looks up modaliases with this package and with libkmod, names of modules included: all is a million
// different ones of all buses, each looked up once, the index new at the beginning; then each bus's own, round and round. The metrics are
// medians of five rounds in turns: nanoseconds a look-up of both, and how many times as fast we are.
func BenchmarkLookupAgainstLibkmod(b *testing.B) {
	dir, program := debianTree(b), libkmod(b)
	x, err := OpenDir(dir)
	if err != nil {
		b.Fatal(err)
	}
	buses := modaliases(b, x, 1_000_000)
	var all []string
	names := make([]string, 0, len(buses))
	for name, list := range buses {
		if len(list) >= 5 {
			names = append(names, name)
		}
		all = append(all, list...)
		buses[name] = inOrder(list)
	}
	slices.Sort(names)
	slices.Sort(all)
	rand.New(rand.NewPCG(3, 4)).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	all = inOrder(all)
	if x, err = OpenDir(dir); err != nil { // nothing has been asked of it
		b.Fatal(err)
	}

	const rounds, spell = 5, 200 * time.Millisecond
	compare := func(b *testing.B, total int, once bool, lists func(round int) []string) {
		var ours, theirs []float64
		known, asked, letters := 0, 0, 0
		one := func(alias string) {
			n := 0
			for m := range x.Match(alias) {
				letters += len(m.Module)
				n++
			}
			asked++
			known += min(n, 1)
		}
		for round := range rounds {
			list := lists(round)
			limit := int64(0)
			runtime.GC()
			n, start := 0, time.Now()
			if once {
				for _, a := range list {
					one(a)
				}
				n = len(list)
			} else {
				limit = spell.Nanoseconds()
				for time.Since(start) < spell {
					for range 256 {
						one(list[n%len(list)])
						n++
					}
				}
			}
			ours = append(ours, float64(time.Since(start).Nanoseconds())/float64(n))
			f := strings.Fields(askLibkmod(b, program, dir, list, "time", strconv.FormatInt(limit, 10)))
			count, _ := strconv.ParseFloat(f[0], 64)
			spent, _ := strconv.ParseFloat(f[1], 64)
			theirs = append(theirs, spent/count)
		}
		slices.Sort(ours)
		slices.Sort(theirs)
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(ours[rounds/2], "kudev-ns")
		b.ReportMetric(theirs[rounds/2], "libkmod-ns")
		b.ReportMetric(theirs[rounds/2]/ours[rounds/2], "times")
		b.ReportMetric(float64(total), "aliases")
		b.ReportMetric(100*float64(known)/float64(asked), "%known")
		list, next := lists(0), 0
		b.ReportMetric(testing.AllocsPerRun(1000, func() {
			for range x.Match(list[next%len(list)]) {
			}
			next++
		}), "allocs")
	}
	b.Run("all", func(b *testing.B) {
		compare(b, len(all), true, func(round int) []string {
			return all[round*len(all)/rounds : (round+1)*len(all)/rounds]
		})
	})
	for _, name := range names {
		list := buses[name]
		b.Run(name, func(b *testing.B) {
			compare(b, len(list), false, func(int) []string { return list })
		})
	}
}

// BenchmarkFirstAnswerAgainstLibkmod opens the tree and looks up one alias, again and again, with this package and with libkmod: medians.
func BenchmarkFirstAnswerAgainstLibkmod(b *testing.B) {
	dir, program := debianTree(b), libkmod(b)
	const alias, rounds = "usb:v046DpC52Bd1201dc00dsc00dp00ic03isc01ip02in00", 300
	var ours, theirs []float64
	for range 5 {
		opened := make([]*Index, 0, rounds) // libkmod's time is without closing too
		for range rounds {
			start := time.Now()
			x, err := OpenDir(dir)
			if err != nil {
				b.Fatal(err)
			}
			for range x.Match(alias) {
			}
			opened = append(opened, x)
			ours = append(ours, float64(time.Since(start).Nanoseconds()))
		}
		runtime.KeepAlive(opened)
		for line := range strings.FieldsSeq(askLibkmod(b, program, dir, []string{alias}, "first", strconv.Itoa(rounds))) {
			ns, _ := strconv.ParseFloat(line, 64)
			theirs = append(theirs, ns)
		}
	}
	slices.Sort(ours)
	slices.Sort(theirs)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(ours[len(ours)/2]/1e3, "kudev-µs")
	b.ReportMetric(theirs[len(theirs)/2]/1e3, "libkmod-µs")
}
