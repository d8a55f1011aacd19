//go:build system

package vm_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kudev/kudev/cmd/kudev/internal/vm"
	"github.com/kudev/kudev/cmd/kudev/internal/vm/vmtest"
)

// The devices that each driver has bound, by number: their names differ from boot to boot.
const bound = "sleep 6; find /sys/bus/*/drivers -mindepth 2 -maxdepth 2 -type l ! -name module | cut -d/ -f4,6 | sort | uniq -c"

// demoModules boots the demonstration's machine, lets kudev load what its devices ask for, and returns the modules and what they drive.
func demoModules(t testing.TB) (modules []string, drive string) {
	t.Helper()
	root := vm.NewTree()
	vmtest.Kudev(t, root)
	g := vmtest.Boot(t, vm.Options{Machine: vm.Demo(), Root: root})
	defer g.Guest.Close()
	if r := g.Do("kudev", "coldplug"); r.Code != 0 {
		t.Fatalf("kudev coldplug: exit status %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	drive = g.Sh(bound)
	return strings.Fields(g.Sh("cut -d' ' -f1 /proc/modules | sort")), drive
}

// levels sorts modules by how many others have to be there before them, and returns their files in the guest.
func levels(t testing.TB, debian *vm.Debian, modules []string) (list [][]string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(debian.Modules(), "modules.dep"))
	if err != nil {
		t.Fatal(err)
	}
	name := func(file string) string {
		return strings.ReplaceAll(strings.TrimSuffix(path.Base(file), ".ko"), "-", "_")
	}
	files, needs := map[string]string{}, map[string][]string{}
	for line := range strings.Lines(string(text)) {
		file, rest, _ := strings.Cut(line, ":")
		files[name(file)] = file
		for dep := range strings.FieldsSeq(rest) {
			needs[name(file)] = append(needs[name(file)], name(dep))
		}
	}
	var level func(m string) int
	level = func(m string) int {
		n := 0
		for _, dep := range needs[m] {
			n = max(n, level(dep)+1)
		}
		return n
	}
	for _, m := range modules {
		n := level(m)
		for len(list) <= n {
			list = append(list, nil)
		}
		list[n] = append(list[n], path.Join("/lib/modules", debian.Release(), files[m]))
	}
	return list
}

// BenchmarkLoadingSideBySide loads the modules of the demonstration's machine, which has two processors, in four ways that take turns, each
// in a guest of its own: with insmod, level by level of the dependency graph and all of a level at once; so too, but with no more in a process
// than the system call (testdata/levels.c); with kudev; and with kudev one module at a time. The metrics are how much of the others' time kudev
// takes, by the medians of -benchtime's rounds. insmod is busybox's: a static one, which starts quicker than kmod's.
func BenchmarkLoadingSideBySide(b *testing.B) {
	debian := vmtest.Debian(b)
	modules, _ := demoModules(b)
	var script, plain strings.Builder
	for _, level := range levels(b, debian, modules) {
		fmt.Fprintln(&plain, strings.Join(level, " "))
		for _, file := range level {
			fmt.Fprintf(&script, "busybox insmod %s &\n", file)
		}
		script.WriteString("wait\n")
	}
	set := strings.Join(modules, "\n")
	ways := []struct {
		name string
		conf string
		args []string
		took []time.Duration
	}{
		{name: "insmod", args: []string{"sh", "/etc/levels.sh"}},
		{name: "system calls", args: []string{"sh", "-c", "levels </etc/levels"}},
		{name: "kudev", args: []string{"kudev", "load", "/etc/set"}},
		{name: "kudev at a width of one", conf: "load_workers = 1\n", args: []string{"kudev", "load", "/etc/set"}},
	}
	program := b.TempDir() + "/kudev"
	if err := vm.BuildKudev(b.Context(), program); err != nil {
		b.Fatal(err)
	}
	calls := b.TempDir() + "/levels"
	if out, err := exec.CommandContext(b.Context(), "gcc", "-O2", "-static", "-o", calls, "testdata/levels.c").CombinedOutput(); err != nil {
		b.Fatalf("gcc: %v: run `make packages`\n%s", err, out)
	}
	for b.Loop() {
		for _, i := range rand.Perm(len(ways)) {
			w := &ways[i]
			root := vm.NewTree()
			root.Copy("/bin/kudev", program, 0o755)
			root.File("/etc/kudev/kudev.conf", w.conf, 0o644)
			root.Copy("/bin/levels", calls, 0o755)
			root.File("/etc/set", set+"\n", 0o644)
			root.File("/etc/levels", plain.String(), 0o644)
			root.File("/etc/levels.sh", script.String(), 0o644)
			g := vmtest.Boot(b, vm.Options{Machine: vm.Demo(), Root: root})
			g.Sh("sleep 2") // the kernel's own start goes on for a while
			r := g.Must(w.args...)
			w.took = append(w.took, r.Took())
			b.Logf("%s: %v, %v of processor time", w.name, r.Took(), r.User+r.System)
			if got := g.Sh("cut -d' ' -f1 /proc/modules | sort"); got != set {
				b.Errorf("%s: the modules are\n%s\nwant\n%s", w.name, got, set)
			}
			if err := g.Guest.Close(); err != nil {
				b.Error(err)
			}
		}
	}
	median := func(i int) time.Duration {
		slices.Sort(ways[i].took)
		return ways[i].took[len(ways[i].took)/2]
	}
	for i := range ways {
		b.Logf("%d modules, %s: median %v of %v", len(modules), ways[i].name, median(i), ways[i].took)
	}
	b.ReportMetric(median(2).Seconds()/median(0).Seconds(), "of-insmod")
	b.ReportMetric(median(2).Seconds()/median(1).Seconds(), "of-calls")
	b.ReportMetric(median(2).Seconds()/median(3).Seconds(), "of-one")
	b.ReportMetric(median(2).Seconds(), "s")
}
