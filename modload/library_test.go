package modload

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/kudev/kudev/modload/inotify"
	"github.com/kudev/kudev/modload/modloadtest"
)

// newLibrary makes a machine with one tree in which the modules are built, and opens it for long use.
func newLibrary(t *testing.T, modules ...modloadtest.Module) (root, tree string, lib *Library) {
	t.Helper()
	root = t.TempDir()
	tree = filepath.Join(root, "lib/modules/6.1.0")
	addModules(t, tree, modules...)
	for _, dir := range []string{"etc/modprobe.d", "etc/kudev"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cfg, err := Resolve(Options{SystemRoot: root, Uname: func() (string, error) { return "6.1.0", nil }})
	if err != nil {
		t.Fatal(err)
	}
	lib = NewLibrary(cfg, nil)
	t.Cleanup(func() { lib.Close() })
	return root, tree, lib
}

func addModules(t *testing.T, tree string, modules ...modloadtest.Module) {
	t.Helper()
	for _, m := range modules {
		if err := modloadtest.WriteModule(filepath.Join(tree, "kernel", m.Name+".ko"), m); err != nil {
			t.Fatal(err)
		}
	}
	if err := Depmod(t.Context(), DepmodOptions{Dir: tree}); err != nil {
		t.Fatal(err)
	}
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestEveryChangeCountsForTheVeryNextLookup(t *testing.T) {
	for _, watches := range []bool{true, false} {
		root, tree, lib := newLibrary(t, modloadtest.Module{Name: "a", Info: []string{"alias=x:1"}})
		if !watches {
			lib.Close()
		}
		current := func() *Index {
			t.Helper()
			x, err := lib.Index()
			if err != nil {
				t.Fatal(err)
			}
			return x
		}
		first := current()
		if current() != first {
			t.Error("a new generation without a change")
		}
		addModules(t, tree, modloadtest.Module{Name: "b", Info: []string{"alias=x:*"}})
		if got := matches(current(), "x:1"); got != "a b" && got != "b a" {
			t.Errorf("after depmod: %q", got)
		}
		if got := matches(first, "x:1"); got != "a" {
			t.Errorf("the old generation has changed: %q", got)
		}
		put(t, root+"/etc/modprobe.d/new.conf", "blacklist a\n")
		if _, yes := current().Policy().Blacklisted("a"); !yes {
			t.Error("a new file of modprobe.d does not count")
		}
		put(t, root+"/etc/modprobe.d/new.conf", "blacklist b\n")
		if _, yes := current().Policy().Blacklisted("b"); !yes {
			t.Error("a changed file of modprobe.d does not count")
		}
		put(t, root+"/run/modprobe.d/made.conf", "blacklist c\n")
		if _, yes := current().Policy().Blacklisted("c"); !yes {
			t.Error("a directory of modprobe.d made just now does not count")
		}
		put(t, root+"/run/modprobe.d/made.conf", "blacklist d\n")
		if _, yes := current().Policy().Blacklisted("d"); !yes {
			t.Error("a change in a directory of modprobe.d made just now does not count")
		}
		put(t, root+ConfigFile, "forbid a\n")
		if err := current().Refusal("a", ""); err == nil {
			t.Error("a new forbid line does not count")
		}
		put(t, root+ConfigFile, "forbid b\nno such setting here\n")
		if x := current(); x.Refusal("a", "") == nil || x.Refusal("b", "") != nil {
			t.Error("a kudev.conf with a bad line must not count at all")
		}
		put(t, root+ConfigFile, "forbid b\n")
		if x := current(); x.Refusal("a", "") != nil || x.Refusal("b", "") == nil {
			t.Error("the mended kudev.conf does not count")
		}
		if err := Seal(lib.cfg, false); err != nil {
			t.Fatal(err)
		}
		if current().Refusal("a", "") == nil {
			t.Error("sealing does not count")
		}
	}
}

// Before something is given up as unknown the files are compared, unless that was done since it was asked for. The watches of this library
// say nothing, as on a file system of another machine's.
func TestTheFilesAreComparedOnceForABurst(t *testing.T) {
	_, tree, lib := newLibrary(t, modloadtest.Module{Name: "a", Info: []string{"alias=x:1"}})
	lib.notify.Close()
	var err error
	if lib.notify, err = inotify.New(); err != nil {
		t.Fatal(err)
	}
	loader := NewLoader(lib, nil, LoaderOptions{})
	load := func(asked time.Duration) error {
		_, err := loader.Load(t.Context(), Request{Name: "x:2", Asked: asked, DryRun: true, IgnoreLoaded: true})
		return err
	}
	if err := load(0); !errors.Is(err, ErrNotFound) {
		t.Fatalf("before there is such a module: %v", err)
	}
	addModules(t, tree, modloadtest.Module{Name: "b", Info: []string{"alias=x:2"}})
	if err := load(lib.since); !errors.Is(err, ErrNotFound) {
		t.Errorf("asked for before the files were compared: %v", err)
	}
	if err := load(lib.since + 1); err != nil {
		t.Errorf("asked for after that: %v", err)
	}
}

func TestATreeThatComesLaterCounts(t *testing.T) {
	for _, watches := range []bool{true, false} {
		root := t.TempDir()
		cfg := resolve(t, Options{SystemRoot: root, Uname: func() (string, error) { return "6.1.0", nil }})
		lib := NewLibrary(cfg, nil)
		defer lib.Close()
		if !watches {
			lib.Close()
		}
		loader := NewLoader(lib, &modloadtest.Kernel{}, LoaderOptions{})
		if _, err := loader.Load(t.Context(), Request{Name: "a"}); !errors.Is(err, ErrNoTree) {
			t.Errorf("without a tree: %v", err)
		}
		addModules(t, filepath.Join(root, "usr/lib/modules/6.1.0"), modloadtest.Module{Name: "a"})
		if out, err := loader.Load(t.Context(), Request{Name: "a"}); err != nil || states(out) != "a=loaded" {
			t.Errorf("with one: %s, %v", states(out), err)
		}
	}
}

// While depmod runs again and again, every reader has a whole generation: an alias and the module that it names.
func TestReadersHaveWholeGenerations(t *testing.T) {
	_, tree, lib := newLibrary(t, modloadtest.Module{Name: "m0", Info: []string{"alias=x:*"}})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				x, err := lib.Index()
				if err != nil {
					t.Error(err)
					return
				}
				found := matches(x, "x:1")
				if _, ok := x.Lookup(found); !ok {
					t.Errorf("the alias names %q, which is not there", found)
					return
				}
			}
		})
	}
	for range 20 {
		for _, name := range []string{"m1", "m0"} {
			if err := os.RemoveAll(filepath.Join(tree, "kernel")); err != nil {
				t.Fatal(err)
			}
			addModules(t, tree, modloadtest.Module{Name: name, Info: []string{"alias=x:*"}})
		}
	}
	close(stop)
	wg.Wait()
}
