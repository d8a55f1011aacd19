package hwdb

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const source = `# comment
usb:v1D6B*
 ID_VENDOR_FROM_DATABASE=Linux Foundation

usb:v1D6Bp0002*
usb:v1D6Bp0003*   # two matches, one record
 ID_MODEL_FROM_DATABASE=root hub
  KEY_WITH_TWO_BLANKS=1

evdev:name:?ouse [0-9]*:dmi:bvn*:svnAcer*:*
 EVDEV_ABS_00=::12

acpi:LNX[!A-Q]*:
 WILD=yes

usb:v1D6B*
 ID_VENDOR_FROM_DATABASE=of a later line
`

func compile(t testing.TB, texts ...string) *DB {
	t.Helper()
	var c Compiler
	for i, text := range texts {
		if err := c.Add(fmt.Sprintf("%d.hwdb", i), strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
	}
	var b bytes.Buffer
	if _, err := c.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	db, err := Parse(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func lookup(t testing.TB, db *DB, modalias string) []string {
	t.Helper()
	var got []string
	if err := db.Lookup(modalias, func(k, v string) bool { got = append(got, k+"="+v); return true }); err != nil {
		t.Fatalf("%s: %v", modalias, err)
	}
	slices.Sort(got)
	return got
}

func TestLookup(t *testing.T) {
	db := compile(t, source)
	for modalias, want := range map[string][]string{
		"usb:v1D6Bp0002d0601": {"ID_MODEL_FROM_DATABASE=root hub", "ID_VENDOR_FROM_DATABASE=of a later line", "KEY_WITH_TWO_BLANKS=1"},
		"usb:v1D6Bp0009":      {"ID_VENDOR_FROM_DATABASE=of a later line"},
		"usb:v1D6":            nil,
		"evdev:name:Mouse 7x:dmi:bvnX:svnAcerX:pn": {"EVDEV_ABS_00=::12"},
		"evdev:name:Mouse x:dmi:bvnX:svnAcer:pn":   nil,
		"acpi:LNXSYSTM:":                           {"WILD=yes"},
		"acpi:LNXCPU:":                             nil,
		"":                                         nil,
	} {
		if diff := cmp.Diff(want, lookup(t, db, modalias)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", modalias, diff)
		}
	}
}

func TestLaterFileCounts(t *testing.T) {
	first, second := "a:*\n K=first\n", "a:b\n K=second\n"
	if got := lookup(t, compile(t, first, second), "a:b"); !slices.Equal(got, []string{"K=second"}) {
		t.Errorf("got %q", got)
	}
	if got := lookup(t, compile(t, second, first), "a:b"); !slices.Equal(got, []string{"K=first"}) {
		t.Errorf("got %q", got)
	}
}

func TestLinesThatDoNotCountAreTold(t *testing.T) {
	var said []string
	c := Compiler{Warn: func(file string, line int, message string) { said = append(said, fmt.Sprintf("%s:%d", file, line)) }}
	err := c.Add("x", strings.NewReader(" K=1\nmatch\n\nmatch\n novalue\n =empty\n K=1\nmatch again\n"))
	if want := []string{"x:1", "x:3", "x:5", "x:6", "x:8"}; err != nil || !slices.Equal(said, want) {
		t.Errorf("%q, %v, want %q", said, err, want)
	}
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, text string
		want          bool
	}{
		{"", "", true}, {"*", "", true}, {"?", "", false}, {"a*b*c", "aXXbYYc", true}, {"a*b*c", "aXXbYY", false},
		{"[a-c]", "b", true}, {"[!a-c]", "b", false}, {"[^a]", "b", true}, {"[]x]", "]", true}, {"[a", "[a", true},
		{`\*`, "*", true}, {`\*`, "x", false}, {"[[:digit:]]x", "7x", true}, {"[[:alpha:]]", "7", false}, {"**", "x", true}, {"*[x]", "aax", true},
	} {
		if got := Match(c.pattern, c.text); got != c.want {
			t.Errorf("%q against %q: %v", c.pattern, c.text, got)
		}
	}
	if !MatchPlain(`a\*`, `a\b`) {
		t.Error(`MatchPlain takes \ as it is`)
	}
}

func TestFileIsOpenedAgainWhenItChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hwdb.bin")
	f := NewFile(path+".absent", path)
	if _, err := f.DB(); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("got %v", err)
	}
	for _, value := range []string{"one", "two"} {
		var c Compiler
		if err := c.Add("x", strings.NewReader("m\n K="+value+"\n")); err != nil {
			t.Fatal(err)
		}
		if err := c.WriteFile(path); err != nil {
			t.Fatal(err)
		}
		got := ""
		if err := f.Lookup("m", func(_, v string) bool { got = v; return true }); err != nil || got != value {
			t.Errorf("got %q, %v", got, err)
		}
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("rubbish"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := f.Lookup("m", func(_, _ string) bool { return true }); err == nil {
		t.Error("rubbish was taken for a database")
	}
}

func TestFileCutShortInPlaceIsAnError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hwdb.bin")
	var c Compiler
	for i := range 2000 {
		if err := c.Add("x", strings.NewReader(fmt.Sprintf("m%d\n KEY%d=value%d\n", i, i, i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.WriteFile(path); err != nil {
		t.Fatal(err)
	}
	db, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	if err := db.Lookup("m7", func(_, _ string) bool { return true }); !errors.Is(err, ErrDamaged) {
		t.Errorf("got %v", err)
	}
}

func FuzzDB(f *testing.F) {
	var c Compiler
	if err := c.Add("x", strings.NewReader(source)); err != nil {
		f.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := c.WriteTo(&b); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes(), "usb:v1D6Bp0002")
	f.Add(b.Bytes()[:100], "")
	f.Fuzz(func(t *testing.T, data []byte, modalias string) {
		db, err := Parse(data)
		if err != nil {
			return
		}
		db.Lookup(modalias, func(string, string) bool { return true })
	})
}

func FuzzSource(f *testing.F) {
	f.Add(source)
	f.Fuzz(func(t *testing.T, text string) {
		var c Compiler
		if c.Add("x", strings.NewReader(text)) != nil {
			return
		}
		var b bytes.Buffer
		if _, err := c.WriteTo(&b); err != nil {
			t.Fatal(err)
		}
		db, err := Parse(b.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Lookup("usb:v1D6B", func(string, string) bool { return true }); err != nil && len(text) < 1000 {
			t.Fatal(err)
		}
	})
}

func BenchmarkLookup(b *testing.B) {
	db := compile(b, source)
	b.ReportAllocs()
	for b.Loop() {
		if err := db.Lookup("usb:v1D6Bp0002d0601", func(string, string) bool { return true }); err != nil {
			b.Fatal(err)
		}
	}
}

func TestFileThatIsAskedOftenLooksOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hwdb.bin")
	f := NewFile(path)
	f.Every = time.Hour
	for range 2 {
		if db, err := f.DB(); db != nil || !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("got %v, %v", db, err)
		}
		if err := os.WriteFile(path, []byte("no database"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
