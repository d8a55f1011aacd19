//go:build system

package modload

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

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
