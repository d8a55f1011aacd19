// Package vmtest is package vm for tests: what goes wrong ends the test, with the guest's console in its log.
package vmtest

import (
	"context"
	"strings"
	"testing"

	"github.com/kudev/kudev/cmd/kudev/internal/vm"
)

// Guest is a guest of one test, which closes it at its end.
type Guest struct {
	*vm.Guest
	t testing.TB
}

// Boot boots a machine. Options.Debian may be left out.
func Boot(t testing.TB, o vm.Options) *Guest {
	t.Helper()
	if o.Debian == nil {
		o.Debian = Debian(t)
	}
	if o.Scratch == "" {
		o.Scratch = t.TempDir()
	}
	ctx, cancel := context.WithCancel(context.Background()) // the guest lives until the cleanup, which t.Context does not
	g, err := vm.Boot(ctx, o)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the guest's console:\n%s", g.Console())
		}
		if err := g.Close(); err != nil {
			t.Error(err)
		}
		cancel()
	})
	t.Logf("booted in %v of the guest's time", g.Booted())
	return &Guest{g, t}
}

// With returns the guest for a subtest, whose failures are the subtest's.
func (g *Guest) With(t testing.TB) *Guest { return &Guest{g.Guest, t} }

// Debian opens the cache of Debian's packages.
func Debian(t testing.TB) *vm.Debian {
	t.Helper()
	d, err := vm.OpenDebian()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// Kudev builds kudev and puts it into the tree, as /bin/kudev.
func Kudev(t testing.TB, root *vm.Tree) {
	t.Helper()
	to := t.TempDir() + "/kudev"
	if err := vm.BuildKudev(t.Context(), to); err != nil {
		t.Fatal(err)
	}
	root.Copy("/bin/kudev", to, 0o755)
}

// Sh runs a script in the guest's shell, which has to succeed, and returns what it printed without the last newline.
func (g *Guest) Sh(script string) string {
	g.t.Helper()
	out, err := g.Shell(g.t.Context(), script)
	if err != nil {
		g.t.Fatal(err)
	}
	return strings.TrimSuffix(out, "\n")
}

// Do runs a program to its end, whatever its exit status.
func (g *Guest) Do(args ...string) vm.Result {
	g.t.Helper()
	r, err := g.Run(g.t.Context(), vm.Command{Args: args})
	if err != nil {
		g.t.Fatal(err)
	}
	return r
}

// Must runs a program that has to succeed.
func (g *Guest) Must(args ...string) vm.Result {
	g.t.Helper()
	r := g.Do(args...)
	if r.Code != 0 {
		g.t.Fatalf("%s: exit status %d\n%s%s", strings.Join(args, " "), r.Code, r.Stdout, r.Stderr)
	}
	return r
}

// Spawn starts a program that goes on, such as a daemon.
func (g *Guest) Spawn(c vm.Command) *vm.Process {
	g.t.Helper()
	p, err := g.Start(c)
	if err != nil {
		g.t.Fatal(err)
	}
	return p
}
