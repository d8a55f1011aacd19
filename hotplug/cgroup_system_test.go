//go:build system

package hotplug

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

// caged is a runner with cgroups, whatever is mounted here.
func caged(t *testing.T) *Runner {
	t.Helper()
	own, err := os.ReadFile("/proc/self/cgroup")
	must(t, err)
	g, err := mountCgroup(string(own))
	if err != nil {
		t.Fatalf("%v: run the test as root: sudo -E go test -tags system ./hotplug", err)
	}
	t.Cleanup(func() { g.Close() })
	g.dir += "/kudev-test-" + NewUUID()
	must(t, os.Mkdir(g.dir, 0o755))
	t.Cleanup(func() { must(t, os.Remove(g.dir)) }) // nothing is left in it
	return &Runner{Cgroup: g, Timeout: time.Second}
}

// A process that left the group, and whose parent has ended, belongs to nobody whom a look at /proc would find.
func TestWhatLeftTheGroupIsKilledWithItsCgroup(t *testing.T) {
	r := caged(t)
	dir := t.TempDir()
	env := []string{"PATH=/usr/bin:/bin"}
	_, err := r.Run(t.Context(), Program{Line: "/bin/sh -c '(setsid sleep 1000 & echo $! >" + dir + "/ended); echo done'", Env: env})
	must(t, err)
	gone(t, pidIn(t, dir+"/ended"))
	_, err = r.Run(t.Context(), Program{Line: "/bin/sh -c '(setsid sleep 1000 & echo $! >" + dir + "/hangs); sleep 1000'", Env: env})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	gone(t, pidIn(t, dir+"/hangs"))
	if _, err := r.Run(t.Context(), Program{Line: "/nonexistent/x"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestAProgramRunsWhereItGetsNoCgroup(t *testing.T) {
	r := &Runner{Cgroup: &Cgroup{dir: t.TempDir()}} // which is none
	out, err := r.Run(t.Context(), Program{Line: "/bin/echo done"})
	if err != nil || strings.TrimSpace(out.Stdout) != "done" {
		t.Errorf("prints %q, %v", out.Stdout, err)
	}
	if left, _ := os.ReadDir(r.Cgroup.dir); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}
