//go:build system

package vm_test

import (
	"strings"
	"syscall"
	"testing"

	"github.com/kudev/kudev/cmd/kudev/internal/vm"
	"github.com/kudev/kudev/cmd/kudev/internal/vm/vmtest"
)

// The rest of the tests stand on these: what a guest's programs say arrives whole, and what is plugged in is there.
func TestGuest(t *testing.T) {
	root := vm.NewTree()
	root.File("/etc/hello", "from the small archive\n", 0o640)
	machine := vm.Bare()
	machine.Devices = append(machine.Devices, vm.Device{Driver: "pcie-root-port", ID: "hp0", Props: "chassis=1,slot=1"})
	machine.Drives = append(machine.Drives, vm.Drive{ID: "spare"})
	g := vmtest.Boot(t, vm.Options{Machine: machine, Root: root})

	t.Run("both archives make the root", func(t *testing.T) {
		g := g.With(t)
		if got := g.Sh("cat /etc/hello; stat -c %a /etc/hello; ls /lib/modules"); got != "from the small archive\n640\n"+vmtest.Debian(t).Release() {
			t.Errorf("got %q", got)
		}
	})
	t.Run("outputs, status and times come back", func(t *testing.T) {
		g := g.With(t)
		r := g.Do("sh", "-c", "echo out; echo err >&2; sleep 0.2; exit 7")
		if r.Stdout != "out\n" || r.Stderr != "err\n" || r.Code != 7 || r.Took() <= 0 {
			t.Errorf("got %+v", r)
		}
	})
	t.Run("a megabyte arrives whole", func(t *testing.T) {
		g := g.With(t)
		r := g.Must("seq", "100000")
		if lines := strings.Split(r.Stdout, "\n"); len(lines) != 100001 || lines[99999] != "100000" {
			t.Errorf("%d lines, %d bytes", len(lines), len(r.Stdout))
		}
	})
	t.Run("standard input and signals go in", func(t *testing.T) {
		g := g.With(t)
		in := strings.Repeat("a line of input\n", 4000)
		r, err := g.Run(t.Context(), vm.Command{Args: []string{"wc", "-c"}, Stdin: in})
		if err != nil || strings.TrimSpace(r.Stdout) != "64000" {
			t.Errorf("got %q, %v", r.Stdout, err)
		}
		p := g.Spawn(vm.Command{Args: []string{"sleep", "1000"}})
		if err := p.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if r, err := p.Wait(t.Context()); err != nil || r.Code != 128+15 {
			t.Errorf("got %+v, %v", r, err)
		}
	})
	t.Run("a program says when it is ready", func(t *testing.T) {
		g := g.With(t)
		p := g.Spawn(vm.Command{Args: []string{"sh", "-c", "echo >&3; sleep 1000"}, Ready: true})
		if at, err := p.Ready(t.Context()); err != nil || at < g.Booted() {
			t.Errorf("ready at %v, %v", at, err)
		}
		p.Signal(syscall.SIGKILL)
	})
	t.Run("a device comes and goes", func(t *testing.T) {
		g := g.With(t)
		if err := g.QMP().Plug(t.Context(), vm.Device{Driver: "virtio-blk-pci", ID: "new", Props: "bus=hp0,drive=spare,serial=123"}); err != nil {
			t.Fatal(err)
		}
		device := `[ "$(cat /sys/bus/pci/devices/*/device | grep -c '0x1042\|0x1001')" = `
		g.Sh("for i in $(seq 100); do " + device + "2 ] && exit 0; sleep 0.1; done; exit 1")
		if err := g.QMP().Unplug(t.Context(), "new"); err != nil {
			t.Fatal(err)
		}
		g.Sh("for i in $(seq 100); do " + device + "1 ] && exit 0; sleep 0.1; done; exit 1")
	})
}
