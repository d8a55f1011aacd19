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
)

// debianTree is Debian's module tree, with kmod's own indexes.
func debianTree(t testing.TB) string {
	t.Helper()
	cache := os.Getenv("KUDEV_DEBIAN")
	if cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			t.Fatal(err)
		}
		cache = filepath.Join(dir, "kudev/debian")
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

// busOf is what stands before the first colon, star or dash.
func busOf(alias string) string {
	for i := range len(alias) {
		if c := alias[i]; c == ':' || c == '*' || c == '-' || c == '_' {
			if c == '-' || c == '_' {
				return "names"
			}
			return alias[:i]
		}
	}
	return "names"
}

// fillers are what devices have where patterns have a star: by bus, and by the letters before the star.
var fillers = map[string]map[string]int{ // hexadecimal digits
	"pci": {"v": 8, "d": 8, "sv": 8, "sd": 8, "bc": 2, "sc": 2, "i": 2},
	"usb": {"v": 4, "p": 4, "d": 4, "dc": 2, "dsc": 2, "dp": 2, "ic": 2, "isc": 2, "ip": 2, "in": 2},
	"hid": {"b": 4, "g": 4, "v": 8, "p": 8},
}

// modaliasLike makes what a device that matches a pattern could say.
func modaliasLike(r *rand.Rand, pattern string) string {
	bus := busOf(pattern)
	const hex = "0123456789ABCDEF"
	digits := func(b []byte, n int) []byte {
		for range n {
			b = append(b, hex[r.IntN(16)])
		}
		return b
	}
	words := []string{"", "gpio", "Inspiron", "fsl", "HDA", "1.2.3", "PNP0C02", "Inc.", "snps,dwc3", "(null)"}
	var b []byte
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; c {
		case '*':
			start := i
			for start > 0 && 'a' <= pattern[start-1] && pattern[start-1] <= 'z' {
				start--
			}
			last := i == len(pattern)-1
			switch n := fillers[bus][pattern[start:i]]; {
			case n > 0:
				b = digits(b, n)
			case bus == "acpi":
				if i == 4 || r.IntN(3) > 0 { // acpi*: and most tails are empty
					break
				}
				b = append(digits(append(b, "PNP"...), 4), ':')
			case bus == "of":
				switch {
				case last && r.IntN(2) == 0:
					b = append(digits(append(b, "Cvendor,part"...), 4), "Cvendor,generic"...)
				case !last:
					b = append(b, words[1+r.IntN(3)]...)
				}
			case bus == "dmi":
				b = digits(append(b, words[r.IntN(len(words))]...), 3)
				if last {
					b = append(b, ":rvnBoard:rn0KP0FT:rvrA00:cvnVendor:ct10:cvr:"...)
				}
			case bus == "cpu":
				for range 5 + r.IntN(40) {
					b = digits(append(b, ",00"...), 2)
				}
			default:
				b = digits(b, 1+r.IntN(6))
			}
		case '?':
			b = digits(b, 1)
		case '[':
			end := strings.IndexByte(pattern[i:], ']')
			set := pattern[i+1 : i+end]
			if len(set) > 2 && set[1] == '-' {
				b = append(b, set[0]+byte(r.IntN(int(set[2]-set[0])+1)))
			} else {
				b = append(b, set[r.IntN(len(set))])
			}
			i += end
		default:
			b = append(b, c)
		}
	}
	if r.IntN(8) == 0 && len(b) > 0 { // a device that nobody knows
		at := len(b)*2/3 + r.IntN(len(b)-len(b)*2/3)
		b[at] = hex[r.IntN(16)]
	}
	return string(b)
}

// modaliases makes n different modaliases after the patterns of a tree, as many of each pattern as its form allows, by bus.
func modaliases(t testing.TB, x *Index, n int) map[string][]string {
	t.Helper()
	var patterns []string
	for p := range x.Aliases() {
		patterns = append(patterns, p)
	}
	patterns = append(patterns, "virtio:d00000001v00001AF4", "platform:nothing", "names-nothing")
	r := rand.New(rand.NewPCG(20, 26))
	seen := make(map[string]bool, n)
	buses := map[string][]string{}
	for round := 0; len(seen) < n; round++ {
		before := len(seen)
		for _, p := range patterns {
			if round > 0 && !isPattern(p) && r.IntN(4) > 0 {
				continue
			}
			a := modaliasLike(r, p)
			if seen[a] || strings.ContainsAny(a, "\n") {
				continue
			}
			seen[a] = true
			buses[busOf(a)] = append(buses[busOf(a)], a)
			if len(seen) == n {
				break
			}
		}
		if len(seen) == before {
			t.Fatalf("no more than %d modaliases are different", before)
		}
	}
	for _, list := range buses {
		r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	}
	return buses
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
		aliases = append(aliases, modaliasLike(rand.New(rand.NewPCG(1, 1)), key), key)
	}
	aliases = append(aliases, "char-major-116-1", "a]b", "x[", "", "fs-ext4", "usb:", "of:N*T*C*")
	aliases = slices.DeleteFunc(aliases, func(a string) bool { return a == "" })
	slices.Sort(aliases)
	var b strings.Builder
	hits := 0
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
	want := askLibkmod(t, program, dir, aliases, "resolve")
	ours, theirs := strings.Split(b.String(), "\n"), strings.Split(want, "\n")
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

// BenchmarkLookupAgainstLibkmod looks up a million different modaliases with this package and with libkmod, by bus and all together:
// medians of five rounds each, in turns. The metrics are nanoseconds a look-up of both, and how many times as fast we are.
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
		if len(list) >= 100 {
			names = append(names, name)
		}
		all = append(all, list...)
	}
	slices.Sort(names)
	slices.Sort(all)
	rand.New(rand.NewPCG(3, 4)).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	buses["all"] = all
	const round = 200 * time.Millisecond
	for _, name := range append([]string{"all"}, names...) {
		list := buses[name]
		b.Run(name, func(b *testing.B) {
			var ours, theirs []float64
			found := 0
			for range 5 {
				runtime.GC()
				n, start := 0, time.Now()
				for time.Since(start) < round {
					for range 256 {
						for range x.Match(list[n%len(list)]) {
							found++
						}
						n++
					}
				}
				ours = append(ours, float64(time.Since(start).Nanoseconds())/float64(n))
				f := strings.Fields(askLibkmod(b, program, dir, list, "time", strconv.FormatInt(round.Nanoseconds(), 10)))
				count, _ := strconv.ParseFloat(f[0], 64)
				spent, _ := strconv.ParseFloat(f[1], 64)
				theirs = append(theirs, spent/count)
			}
			slices.Sort(ours)
			slices.Sort(theirs)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(ours[2], "kudev-ns")
			b.ReportMetric(theirs[2], "libkmod-ns")
			b.ReportMetric(theirs[2]/ours[2], "times")
			b.ReportMetric(float64(len(list)), "aliases")
			b.ReportMetric(testing.AllocsPerRun(100, func() {
				for range x.Match(list[0]) {
				}
			}), "allocs")
			if found == 0 {
				b.Log("nothing was found")
			}
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
