package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/kudev/kudev/cmd/kudev/internal/daemon"
	"github.com/kudev/kudev/hotplug"
	"github.com/kudev/kudev/rules/builtin"
)

// udevadmVersion is the version of systemd's udevadm that kudev's behaves as.
const udevadmVersion = "257"

// udevadmCommands are udevadm's, each in a file of its own.
func udevadmCommands() []command {
	return []command{
		{"info", "[OPTION...] [DEVPATH|FILE]", "Query sysfs or the udev database", runInfo},
		{"trigger", "[OPTION...] DEVPATH...", "Request events from the kernel", runTrigger},
		{"settle", "[OPTION...]", "Wait for pending udev events", runSettle},
		{"control", "OPTION", "Control the udev daemon", runControl},
		{"monitor", "[OPTION...]", "Listen to kernel and udev events", runMonitor},
		{"test", "[OPTION...] DEVPATH", "Test an event run", runTest},
		{"test-builtin", "[OPTION...] COMMAND DEVPATH", "Test a built-in command", runTestBuiltin},
		{"verify", "[OPTION...] [FILE...]", "Verify udev rules files", runVerify},
		{"wait", "[OPTION...] DEVICE [DEVICE...]", "Wait for device or device symlink", runWait},
		{"lock", "[OPTION...] COMMAND", "Lock a block device", runLock},
		{"hwdb", "[OPTION...]", "Update or query the hardware database", runUdevadmHwdb},
	}
}

// runUdevadm is udevadm: it takes a command of its own.
func runUdevadm(ctx context.Context, e *env, args []string) error {
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		switch args[0] {
		case "-h", "--help":
			fmt.Fprintln(e.stdout, "udevadm [--help] [--version] [--debug] COMMAND [COMMAND OPTIONS]\n\nSend control commands or test the device manager.\n\nCommands:")
			for _, c := range udevadmCommands() {
				fmt.Fprintf(e.stdout, "  %-12s %s\n", c.name, c.short)
			}
			return nil
		case "-V", "--version":
			_, err := fmt.Fprintln(e.stdout, udevadmVersion)
			return err
		case "-d", "--debug":
			args = args[1:]
		default:
			return misuse("unknown option %s", args[0])
		}
	}
	if len(args) == 0 {
		return misuse("a command is wanted")
	}
	for _, c := range udevadmCommands() {
		if c.name == args[0] {
			e.name, e.command = e.name+" "+c.name, c
			return c.run(ctx, e, args[1:])
		}
	}
	return misuse("unknown command %s", args[0])
}

// runControl sends requests to whoever serves udev's control socket: kudev's daemon or udevd.
func runControl(ctx context.Context, e *env, args []string) error {
	flags := pflag.NewFlagSet("control", pflag.ContinueOnError)
	exit := flags.BoolP("exit", "e", false, "end the daemon")
	level := flags.StringP("log-level", "l", "", "log from this `LEVEL` up")
	flags.StringVar(level, "log-priority", "", "as --log-level")
	flags.MarkHidden("log-priority")
	stop := flags.BoolP("stop-exec-queue", "s", false, "hold events back")
	start := flags.BoolP("start-exec-queue", "S", false, "let events go on")
	reload := flags.BoolP("reload", "R", false, "read rules and databases again")
	flags.BoolVar(reload, "reload-rules", false, "as --reload")
	flags.MarkHidden("reload-rules")
	properties := flags.StringArrayP("property", "p", nil, "set `KEY=VALUE` for all events")
	flags.StringArrayVar(properties, "env", nil, "as --property")
	flags.MarkHidden("env")
	children := flags.StringP("children-max", "m", "", "handle at most `N` events at a time")
	ping := flags.Bool("ping", false, "wait until the daemon answers")
	limit := timeoutFlag(flags, "t")
	rest, err := e.parse(flags, args)
	if err != nil {
		return err
	}
	if len(rest) > 0 || flags.NFlag() == 0 {
		return misuse("an option is wanted, and no arguments")
	}
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	if limit.set && limit.d > 0 {
		ctx, cancel = context.WithTimeout(ctx, limit.d)
	}
	defer cancel()
	send := func(verb daemon.UdevVerb, n int32, text string) {
		if err == nil {
			err = daemon.UdevControl(ctx, e.roots.RunDir(), verb, n, text)
		}
	}
	if *level != "" {
		n, ok := syslogLevels[*level]
		if !ok {
			return misuse("unknown log level %q", *level)
		}
		send(daemon.UdevLogLevel, n, "")
	}
	if *stop {
		send(daemon.UdevStop, 0, "")
	}
	if *start {
		send(daemon.UdevStart, 0, "")
	}
	if *reload {
		send(daemon.UdevReload, 0, "")
	}
	for _, p := range *properties {
		if !strings.Contains(p, "=") {
			return misuse("expected KEY=VALUE, not %q", p)
		}
		send(daemon.UdevEnv, 0, p)
	}
	if *children != "" {
		n, convErr := strconv.ParseUint(*children, 10, 31)
		if convErr != nil {
			return misuse("children-max %q is no number", *children)
		}
		send(daemon.UdevChildrenMax, int32(n), "")
	}
	if *ping {
		send(daemon.UdevPing, 0, "")
	}
	if *exit {
		send(daemon.UdevExit, 0, "")
	}
	return err
}

var syslogLevels = map[string]int32{
	"emerg": 0, "alert": 1, "crit": 2, "err": 3, "error": 3, "warning": 4, "notice": 5, "info": 6, "debug": 7,
	"0": 0, "1": 1, "2": 2, "3": 3, "4": 4, "5": 5, "6": 6, "7": 7,
}

// runTestBuiltin runs one builtin for a device and prints what it sets.
func runTestBuiltin(ctx context.Context, e *env, args []string) error {
	flags := pflag.NewFlagSet("test-builtin", pflag.ContinueOnError)
	action := flags.StringP("action", "a", "add", "as for an event with this `ACTION`")
	rest, err := e.parse(flags, args)
	if err != nil {
		return err
	}
	if len(rest) != 2 {
		return misuse("a builtin and a device wanted")
	}
	cfg, err := e.resolve(nil)
	if err != nil {
		return err
	}
	once := daemon.Once{Config: cfg, Roots: e.roots, Log: e.logger(cfg)}
	ev, err := e.testEvent(&once, rest[1], *action)
	if err != nil {
		return err
	}
	dev := e.roots.EventDevice(ev)
	words := hotplug.SplitCommand(rest[0])
	if len(words) == 0 {
		return misuse("a builtin wanted")
	}
	set := map[string]string{}
	for k, v := range ev.All() {
		set[k] = v
	}
	policy := daemon.LoadPolicy(daemon.PolicyOptions{Config: cfg, Roots: e.roots, Builtins: builtin.Options{DryRun: true}})
	return policy.Builtins.Run(ctx, words[0], &builtin.Call{
		Event: ev, Device: dev, Args: words[1:], Log: e.logger(cfg),
		Get: func(key string) (string, bool) { v, ok := set[key]; return v, ok },
		Set: func(key, value string) {
			set[key] = value
			fmt.Fprintf(e.stdout, "%s=%s\n", key, value)
		},
		All: func(yield func(string, string) bool) {
			for k, v := range set {
				if !yield(k, v) {
					return
				}
			}
		},
	})
}

// runWait waits for devices or links to be there and handled, or to be gone.
func runWait(ctx context.Context, e *env, args []string) error {
	flags := pflag.NewFlagSet("wait", pflag.ContinueOnError)
	limit := timeoutFlag(flags, "t")
	initialized := flags.Bool("initialized", true, "wait until they have been handled")
	removed := flags.Bool("removed", false, "wait until they are gone")
	settle := flags.Bool("settle", false, "then wait until the daemon has nothing more to do")
	devices, err := e.parse(flags, args)
	if err != nil {
		return err
	}
	if len(devices) == 0 {
		return misuse("a device wanted")
	}
	if limit.set {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit.d)
		defer cancel()
	}
	for _, name := range devices {
		for !e.waitDone(name, *removed, *initialized) {
			select {
			case <-time.After(20 * time.Millisecond): // sysfs tells nobody
			case <-ctx.Done():
				return fmt.Errorf("%s: timed out", name)
			}
		}
	}
	if *settle {
		return runSettle(ctx, e, nil)
	}
	return nil
}

func (e *env) waitDone(name string, removed, initialized bool) bool {
	item, err := e.lookupDevice(name)
	if removed {
		return err != nil
	}
	if err != nil {
		return false
	}
	if !initialized {
		return true
	}
	dev, err := e.roots.Device(item.Devpath)
	if err != nil {
		return false
	}
	_, err = dev.Record()
	return err == nil
}

// runLock runs a command with whole disks locked, so that the daemon does not look at them meanwhile.
func runLock(ctx context.Context, e *env, args []string) error {
	flags := pflag.NewFlagSet("lock", pflag.ContinueOnError)
	flags.SetInterspersed(false)
	devices := flags.StringArrayP("device", "d", nil, "lock the whole disk of `DEVICE`")
	backing := flags.StringArrayP("backing", "b", nil, "lock the whole disk that the file system of `PATH` lies on")
	limit := flags.StringP("timeout", "t", "infinity", "wait at most `SECONDS` for the lock")
	show := flags.BoolP("print", "p", false, "print what would be locked")
	cmd, err := e.parse(flags, args)
	if err != nil {
		return err
	}
	if len(*devices)+len(*backing) == 0 {
		return misuse("a device to lock wanted")
	}
	if len(cmd) == 0 && !*show {
		return misuse("a command wanted")
	}
	var until time.Time
	if *limit != "infinity" {
		var t timeout
		if err := t.Set(*limit); err != nil {
			return misuse("%v", err)
		}
		until = time.Now().Add(t.d)
	}
	var nodes []string
	for _, name := range *devices {
		node, err := e.wholeDisk(name)
		if err != nil {
			return err
		}
		nodes = append(nodes, node)
	}
	for _, path := range *backing {
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		dev, err := e.roots.DeviceByID(fmt.Sprintf("b%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev)))
		if err != nil {
			return fmt.Errorf("%s: it lies on no disk: %w", path, err)
		}
		node, err := e.wholeDisk("/dev/" + dev.Devname())
		if err != nil {
			return err
		}
		nodes = append(nodes, node)
	}
	if *show {
		for _, n := range nodes {
			fmt.Fprintln(e.stdout, n)
		}
		return nil
	}
	for _, node := range nodes {
		f, err := os.OpenFile(node, os.O_RDONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		for {
			err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
			if !errors.Is(err, unix.EWOULDBLOCK) {
				break
			}
			if !until.IsZero() && time.Now().After(until) {
				return fmt.Errorf("%s: locked by another program: timed out", node)
			}
			select {
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if err != nil {
			return fmt.Errorf("lock %s: %w", node, err)
		}
	}
	c := exec.CommandContext(ctx, cmd[0], cmd[1:]...)
	c.Stdin, c.Stdout, c.Stderr = e.stdin, e.stdout, e.stderr
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	err = c.Run()
	var status *exec.ExitError
	if errors.As(err, &status) && status.Exited() {
		return exitStatus(status.ExitCode())
	}
	return err
}

// wholeDisk returns the node of the disk that a block device is, or is part of.
func (e *env) wholeDisk(name string) (string, error) {
	dev, err := e.roots.DeviceByNode(name)
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	if !dev.IsBlock() {
		return "", fmt.Errorf("%s is no block device", name)
	}
	if dev.Devtype() == "partition" {
		if disk := dev.ParentWith("block", "disk"); disk != nil {
			dev = disk
		}
	}
	return e.roots.DevDir() + "/" + dev.Devname(), nil
}
