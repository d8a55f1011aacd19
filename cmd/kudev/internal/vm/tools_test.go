//go:build system

package vm_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/kudev/kudev/cmd/kudev/internal/vm"
	"github.com/kudev/kudev/cmd/kudev/internal/vm/vmtest"
)

// addCameras puts the kernel's imitation of cameras into the tree, which the guest's modules do without, and what it
// needs, to be loaded in the order of their names.
func addCameras(t *testing.T, root *vm.Tree) {
	t.Helper()
	tree := vmtest.Debian(t).Modules()
	deps, err := os.ReadFile(filepath.Join(tree, "modules.dep"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(deps)) {
		if name, rest, _ := strings.Cut(line, ":"); filepath.Base(name) == "vivid.ko" {
			all := append([]string{name}, strings.Fields(rest)...)
			slices.Reverse(all)
			for i, m := range all {
				root.Copy(fmt.Sprintf("/cameras/%02d-%s", i, filepath.Base(m)), filepath.Join(tree, m), 0o644)
			}
			return
		}
	}
	t.Fatal("Debian's kernel has no vivid")
}

// The helper programs that kudev answers for where they are not installed say of every device of the demonstration's
// machine what Debian's say. Cameras and a flash chip are the kernel's own imitations.
func TestHelperProgramsSayTheSame(t *testing.T) {
	root := vm.NewTree()
	vmtest.Kudev(t, root)
	if err := vmtest.Debian(t).AddUdevd(t.Context(), root); err != nil {
		t.Fatal(err)
	}
	test := filepath.Join(t.TempDir(), "builtin.test")
	build := exec.Command("go", "test", "-c", "-tags", "system", "-o", test, "github.com/kudev/kudev/rules/builtin")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	root.Copy("/bin/builtin.test", test, 0o755)
	addCameras(t, root)
	g := vmtest.Boot(t, vm.Options{Machine: contents(t), Root: root})
	daemon := g.Spawn(vm.Command{Args: []string{"kudev", "daemon", "--ready-fd", "3"}, Ready: true})
	if _, err := daemon.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	g.Sh("for m in /cameras/*; do kudev insmod $m; done; kudev modprobe sg && kudev modprobe nandsim first_id_byte=0x20 second_id_byte=0x33 && kudev coldplug")
	r := g.Do("env", "KUDEV_UDEV=/", "builtin.test", "-test.run", "TestSameAsUdev$", "-test.v")
	if r.Code != 0 {
		t.Errorf("exit status %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	m := regexp.MustCompile(`(\d+) properties compared`).FindStringSubmatch(r.Stdout)
	if m == nil {
		t.Fatalf("nothing was compared:\n%s", r.Stdout)
	}
	if n, _ := strconv.Atoi(m[1]); n < 300 {
		t.Errorf("only %d properties were compared", n)
	}
	t.Log(m[0])
}
