package modload

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kudev/kudev/modload/modloadtest"
)

func matches(x *Index, alias string) string {
	var s []string
	for m := range x.Match(alias) {
		s = append(s, m.Module)
	}
	return strings.Join(s, " ")
}

func TestFirstStageWithAResultWins(t *testing.T) {
	f := newFixture(t, "a: | alias=both; alias=x:*; alias=b", "b: | alias=x:1*; alias=only-b", "c:", "snd: | alias=char-major-116-*", "snd-seq: | alias=char-major-116-1")
	if err := os.WriteFile(filepath.Join(f.dir, "modules.builtin"), []byte("kernel/inside-out.ko\nkernel/c2.ko\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(f.dir, "modules.builtin.modinfo"), []byte("inside_out.alias=in:*\x00inside_out.license=GPL\x00c2.alias=in:1*\x00c2.alias=x:1\x00"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Depmod(t.Context(), DepmodOptions{Dir: f.dir}); err != nil {
		t.Fatal(err)
	}
	x := f.index(t, "alias conf-* c", "alias conf-x a", "alias x:2 c", "install pseudo true", "remove gone true")
	for alias, want := range map[string]struct {
		modules string
		via     Via
		pattern string
	}{
		"conf-x":                {"c a", ViaConfig, "conf_*"},
		"x:2":                   {"c", ViaConfig, "x:2"},
		"x:1":                   {"a b", ViaAlias, "x:*"},
		"b":                     {"b", ViaName, "b"},
		"snd-seq":               {"snd_seq", ViaName, "snd_seq"},
		"both":                  {"a", ViaAlias, "both"},
		"only_b":                {"b", ViaAlias, "only_b"},
		"symbol:symbol_of_c":    {"c", ViaSymbol, "symbol:symbol_of_c"},
		"symbol:symbol-of-c":    {"c", ViaSymbol, "symbol:symbol_of_c"},
		"pseudo":                {"pseudo", ViaCommand, "pseudo"},
		"gone":                  {"gone", ViaCommand, "gone"},
		"char-major-116-1":      {"snd snd_seq", ViaAlias, "char_major_116_*"},
		"inside-out":            {"inside_out", ViaBuiltIn, "inside_out"},
		"in:5":                  {"inside_out", ViaBuiltInAlias, "in:*"},
		"nothing":               {"", 0, ""},
		"in:[":                  {"", 0, ""},
		"":                      {"", 0, ""},
		"x:" + longText('-'):    {"a", ViaAlias, "x:*"},
		"in:" + longText('-'):   {"inside_out", ViaBuiltInAlias, "in:*"},
		"conf-" + longText('y'): {"c", ViaConfig, "conf_*"},
	} {
		if got := matches(x, alias); got != want.modules {
			t.Errorf("%.20q gives %q, want %q", alias, got, want.modules)
		}
		for m := range x.Match(alias) {
			if m.Via != want.via || m.Pattern() != want.pattern {
				t.Errorf("%.20q: via %v by %q, want %v by %q", alias, m.Via, m.Pattern(), want.via, want.pattern)
			}
			break
		}
	}
	if e, ok := x.Lookup("inside_out"); !ok || !e.BuiltIn {
		t.Errorf("Lookup(inside_out) = %+v, %v", e, ok)
	}
}

func longText(c byte) string { return strings.Repeat(string(c), 3000) }

func TestLookupAllocatesNothing(t *testing.T) {
	f := newFixture(t, "a: | alias=usb:v*p*d*dc*ic03*; alias=of:N*T*Cx,y-z", "b: | alias=usb:v046DpC5[0-9]*")
	x := f.index(t, "alias conf-* b")
	for _, alias := range []string{"usb:v046DpC52Bd1201dc00ic03", "of:NnameT(null)Cx,y-z", "a", "conf-x", "nothing:" + longText('y')[:200], "some-name", "input:b0003-e0" + longText('1')[:900]} {
		matches(x, alias)
		if n := testing.AllocsPerRun(100, func() {
			for range x.Match(alias) {
			}
		}); n > 0 {
			t.Errorf("%q: %v allocations", alias, n)
		}
	}
}

// Whatever happens to the binary files, the answers are those of the text, and a problem names the file and the place.
func TestDamagedIndexGivesWayToItsText(t *testing.T) {
	modules := []string{"a: b | alias=x:1*; alias=y:*", "b: | alias=x:*"}
	check := func(t *testing.T, f *fixture, problem string) {
		t.Helper()
		x, err := OpenDir(f.dir)
		if err != nil {
			t.Fatal(err)
		}
		if got := matches(x, "x:12") + " " + matches(x, "symbol:symbol_of_b"); got != "a b b" {
			t.Errorf("found %q", got)
		}
		if e, ok := x.Lookup("a"); !ok || !slices.Equal(e.Deps, []string{"b"}) {
			t.Errorf("Lookup(a) = %+v", e)
		}
		for _, p := range x.Problems() {
			if strings.Contains(p.Error(), problem) {
				return
			}
		}
		if problem != "" {
			t.Errorf("problems %v, want %q", x.Problems(), problem)
		}
	}
	for name, damage := range map[string]struct {
		do      func(data []byte) []byte
		problem string
	}{
		"wrong magic": {func(d []byte) []byte { d[0] = 'x'; return d }, "modules.alias.bin: damaged at offset 0: magic number is 0x7807f457, not 0xb007f457"},
		"version":     {func(d []byte) []byte { d[5] = 3; return d }, "modules.alias.bin: damaged at offset 4: version is 3.1, not 2"},
		"empty":       {func(d []byte) []byte { return nil }, "modules.alias.bin: damaged at offset 0: the file ends within its header"},
		"header":      {func(d []byte) []byte { return d[:9] }, "modules.alias.bin: damaged at offset 9"},
		"truncated":   {func(d []byte) []byte { return d[:len(d)-3] }, "modules.alias.bin: damaged at offset"},
		"root":        {func(d []byte) []byte { binary.BigEndian.PutUint32(d[8:], 0xefffffff); return d }, "modules.alias.bin: damaged at offset 8: the root lies at 268435455, outside of the file"},
		"garbage": {func(d []byte) []byte {
			for i := 12; i < len(d); i++ {
				d[i] = 0xff
			}
			return d
		}, "modules.alias.bin: damaged at offset"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, modules...)
			file := filepath.Join(f.dir, "modules.alias.bin")
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, damage.do(data), 0o644); err != nil {
				t.Fatal(err)
			}
			check(t, f, damage.problem)
		})
	}
	t.Run("missing", func(t *testing.T) {
		f := newFixture(t, modules...)
		for _, name := range []string{"dep", "alias", "symbols"} {
			if err := os.Remove(filepath.Join(f.dir, "modules."+name+".bin")); err != nil {
				t.Fatal(err)
			}
		}
		check(t, f, "")
	})
	t.Run("no index at all", func(t *testing.T) {
		f := newFixture(t, append(modules, "c: | softdep=pre: b")...)
		files, _ := filepath.Glob(filepath.Join(f.dir, "modules.[^o]*"))
		for _, file := range files {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		}
		check(t, f, "modules.dep: missing, and modules.dep.bin too: made in memory of the modules themselves; run kudev depmod")
		x, _ := OpenDir(f.dir)
		if s := x.Policy().Softdeps("c"); !slices.Equal(s.Pre, []string{"b"}) {
			t.Errorf("softdeps of c: %+v", s)
		}
		if left, _ := filepath.Glob(filepath.Join(f.dir, "modules.[^o]*")); len(left) > 0 {
			t.Errorf("something was written: %q", left)
		}
	})
}

// A file that is truncated while it is mapped must not end the process.
func TestFileTruncatedWhileInUseGivesWay(t *testing.T) {
	line := "a: | alias=x:*"
	for i := range 1000 { // large enough to be mapped
		line += fmt.Sprintf("; alias=y:%06d*%d", i*7919%1000000, i)
	}
	f := newFixture(t, line)
	x, err := OpenDir(f.dir)
	if err != nil {
		t.Fatal(err)
	}
	if got := matches(x, "x:1"); got != "a" {
		t.Errorf("found %q", got)
	}
	if err := os.Truncate(filepath.Join(f.dir, "modules.alias.bin"), 0); err != nil {
		t.Fatal(err)
	}
	if got := matches(x, "x:1"); got != "a" {
		t.Errorf("found %q", got)
	}
	if p := x.Problems(); len(p) != 1 || !strings.Contains(p[0].Error(), "the file can no longer be read") {
		t.Errorf("problems %v", p)
	}
}

func TestOpenNamesADirectoryThatIsNotThere(t *testing.T) {
	if _, err := OpenDir("/nonexistent/6.1.0"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
	cfg, err := Resolve(Options{SystemRoot: t.TempDir(), Uname: func() (string, error) { return "6.1.0", nil }})
	if err != nil {
		t.Fatal(err)
	}
	x, err := Open(cfg)
	if !errors.Is(err, ErrNoTree) || matches(x, "a") != "" {
		t.Errorf("error %v", err)
	}
	if _, err := NewLoader(NewLibrary(cfg, nil), &modloadtest.Kernel{}, LoaderOptions{}).Load(t.Context(), Request{Name: "a"}); !errors.Is(err, ErrNoTree) {
		t.Errorf("load: %v", err)
	}
}
