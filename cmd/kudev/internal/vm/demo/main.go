// Command demo shows kudev at work: it boots Debian's kernel on a machine with more than forty devices, lets a small PID 1
// start the daemon and the coldplug, plugs a disk, a network card and a USB device in and pulls them out again, and ends
// with what it all took. `make demo` runs it.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kudev/kudev/cmd/kudev/internal/daemon"
	"github.com/kudev/kudev/cmd/kudev/internal/vm"
)

func main() {
	limit := flag.Duration("timeout", 5*time.Minute, "give up after this long")
	colour := flag.String("color", "auto", "always, never, or auto: when the output is a terminal")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ctx, cancel := context.WithTimeout(ctx, *limit)

	width, terminal := 0, false
	if size, err := unix.IoctlGetWinsize(int(os.Stdout.Fd()), unix.TIOCGWINSZ); err == nil {
		width, terminal = int(size.Col), true
	}
	s := newStory(os.Stdout, *colour == "always" || *colour == "auto" && terminal && os.Getenv("NO_COLOR") == "", width)
	err := run(ctx, s)
	cancel()
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// run is the demonstration. What kudev ought to have done and has not is an error.
func run(ctx context.Context, s *story) error {
	debian, err := vm.OpenDebian()
	if err != nil {
		return err
	}
	machine := vm.Demo()
	s.heading("Debian's kernel %s in QEMU, with %d devices and nothing loaded", debian.Release(), len(machine.Devices))
	scratch, err := os.MkdirTemp("", "kudev-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	kudev := filepath.Join(scratch, "kudev")
	if err := vm.BuildKudev(ctx, kudev); err != nil {
		return err
	}
	root := vm.NewTree()
	root.Copy("/bin/kudev", kudev, 0o755)
	g, err := vm.Boot(ctx, vm.Options{Debian: debian, Machine: machine, Root: root})
	if err != nil {
		return err
	}
	defer g.Close()
	s.say("PID 1 is there %s after the kernel's start", round(g.Booted()))

	d := &demonstration{story: s, guest: g}
	if err := d.coldplug(ctx); err != nil {
		return fmt.Errorf("%w%s", err, g.Why())
	}
	for _, p := range []plug{
		{"a virtio disk into a PCI slot", vm.Device{Driver: "virtio-blk-pci", ID: "newdisk", Props: "bus=hp0,drive=spare,serial=NEW-DISK"}, link("virtio-NEW-DISK")},
		{"a network card into a PCI slot", vm.Device{Driver: "e1000e", ID: "newnic", Props: "bus=hp1,mac=52:54:00:12:34:99"}, "grep -l 52:54:00:12:34:99 /sys/class/net/*/address | cut -d/ -f5"},
		{"a USB stick into a controller's port", vm.Device{Driver: "usb-storage", ID: "newstick", Props: "bus=xhci1.0,port=2,drive=stick,serial=NEW-STICK"}, link("usb-QEMU_QEMU_HARDDISK_NEW-STICK-0:0")},
	} {
		if err := d.plug(ctx, p); err != nil {
			return fmt.Errorf("%w%s", err, g.Why())
		}
	}
	s.heading("What it took")
	summary(s.out, s.paint, s.all(), d.figures)
	return d.end(ctx)
}

type demonstration struct {
	story   *story
	guest   *vm.Guest
	daemon  *vm.Process
	figures figures
}

// coldplug starts the daemon, waits until it is ready, and has it go over every device.
func (d *demonstration) coldplug(ctx context.Context) error {
	d.story.heading("PID 1 starts kudev daemon, waits for its readiness, and then for kudev coldplug")
	var err error
	d.daemon, err = d.guest.Start(vm.Command{Args: []string{"kudev", "daemon", "--ready-fd", "3"}, Ready: true, Stderr: daemonLog{d.story}})
	if err != nil {
		return err
	}
	if _, err := d.daemon.Ready(ctx); err != nil {
		return err
	}
	if _, err := d.guest.Start(vm.Command{Args: []string{"kudev", "monitor", "--json", "--decisions"}, Stdout: d.story}); err != nil {
		return err
	}
	r, err := d.guest.Run(ctx, vm.Command{Args: []string{"kudev", "coldplug"}})
	if err != nil {
		return err
	}
	if r.Code != 0 {
		return fmt.Errorf("kudev coldplug: exit status %d: %s%s", r.Code, r.Stdout, r.Stderr)
	}
	d.figures.began, d.figures.settled = r.Began, r.Ended
	for _, line := range strings.Split(strings.TrimSpace(r.Stdout+r.Stderr), "\n") {
		d.story.say("%s", line)
	}
	return d.measure(ctx)
}

// measure takes the figures of the moment after the coldplug.
func (d *demonstration) measure(ctx context.Context) error {
	out, err := d.guest.Shell(ctx, `set -e
		find /sys/devices -name uevent | wc -l
		wc -l </proc/modules
		pid=$(pidof kudev | tr ' ' '\n' | sort -n | head -1)
		awk '/VmRSS/ {print $2}' /proc/$pid/status
		cut -d' ' -f14,15 /proc/$pid/stat`)
	if err != nil {
		return err
	}
	var user, system int64
	if _, err := fmt.Sscan(out, &d.figures.devices, &d.figures.modules, &d.figures.resident, &user, &system); err != nil {
		return fmt.Errorf("read the guest's figures: %w: %q", err, out)
	}
	d.figures.resident <<= 10
	d.figures.user, d.figures.system = time.Duration(user)*10*time.Millisecond, time.Duration(system)*10*time.Millisecond // USER_HZ is 100
	return d.status(ctx)
}

// plug is a device to plug in, and a script that prints what the guest's programs then see of it, and nothing else.
type plug struct {
	what   string
	device vm.Device
	look   string
}

func link(name string) string {
	return "cd /dev/disk/by-id && [ -e " + name + " ] && echo $PWD/" + name + " to $(readlink -f " + name + ")"
}

// plug plugs in, waits until all that follows is done, looks, and does the same with pulling out.
func (d *demonstration) plug(ctx context.Context, p plug) error {
	d.story.heading("Plug %s", p.what)
	skip := d.story.count()
	if err := d.guest.QMP().Plug(ctx, p.device); err != nil {
		return err
	}
	if err := d.settled(ctx, p, skip, true); err != nil {
		return err
	}
	d.story.heading("Pull it out")
	skip = d.story.count()
	if err := d.guest.QMP().Unplug(ctx, p.device.ID); err != nil {
		return err
	}
	return d.settled(ctx, p, skip, false)
}

// settled waits for the first event of the plug, which the kernel has in its own time, and then for kudev settle.
func (d *demonstration) settled(ctx context.Context, p plug, skip int, plugged bool) error {
	action := map[bool]string{true: "add", false: "remove"}[plugged]
	for {
		if _, ok := d.story.find(skip, func(e daemon.Entry) bool { return e.Action == action && e.Origin == "kernel" }); ok {
			break
		}
		select {
		case <-d.story.seen:
		case <-ctx.Done():
			return fmt.Errorf("%s: no %s event: %w", p.what, action, ctx.Err())
		}
	}
	if _, err := d.guest.Shell(ctx, "kudev settle"); err != nil {
		return err
	}
	out, err := d.guest.Shell(ctx, p.look+" || true")
	if err != nil {
		return err
	}
	out = strings.TrimSpace(out)
	switch {
	case plugged && out == "":
		return fmt.Errorf("%s: it is not there when settle returns: %s prints nothing", p.what, p.look)
	case !plugged && out != "":
		return fmt.Errorf("%s: %s is still there after it was pulled out", p.what, out)
	case plugged:
		d.story.say("settled: it is %s", out)
	default:
		d.story.say("settled: nothing of it is left")
	}
	return nil
}

// status reads the daemon's counters.
func (d *demonstration) status(ctx context.Context) error {
	r, err := d.guest.Run(ctx, vm.Command{Args: []string{"kudev", "status", "--json"}})
	if err != nil {
		return err
	}
	if r.Code != 0 {
		return fmt.Errorf("kudev status: exit status %d: %s", r.Code, r.Stderr)
	}
	if err := json.Unmarshal([]byte(r.Stdout), &d.figures.status); err != nil {
		return fmt.Errorf("kudev status: %w", err)
	}
	d.figures.ready = d.figures.status.ReadyUS.Duration()
	return nil
}

// end stops the daemon as PID 1 would, and powers off.
func (d *demonstration) end(ctx context.Context) error {
	if err := d.daemon.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	r, err := d.daemon.Wait(ctx)
	if err != nil {
		return err
	}
	if r.Code != 0 {
		return fmt.Errorf("kudev daemon ended with status %d: %s", r.Code, r.Stderr)
	}
	return nil
}
