package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"slices"
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
	e.udevadm = true
	flags := pflag.NewFlagSet("udevadm", pflag.ContinueOnError)
	flags.BoolP("debug", "d", false, "say more")
	args, err := e.parseFirst(flags, args)
	if err != nil {
		return err
	}
	if len(args) == 0 {
		return misuse("a command is wanted: %s help lists them", e.name)
	}
	if args[0] == "help" {
		e.printHelp(flags)
		return nil
	}
	for _, c := range udevadmCommands() {
		if c.name == args[0] {
			e.name, e.command = e.name+" "+c.name, c
			return c.run(ctx, e, args[1:])
		}
	}
	return misuse("no command is called %s: %s help lists them", args[0], e.name)
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
	if len(rest) > 0 {
		return misuse("%s: no arguments wanted", rest[0])
	}
	if flags.NFlag() == 0 {
		return misuse("an option is wanted")
	}
	if !limit.set || limit.d == 0 && !limit.forever {
		limit.d, limit.set = 60*time.Second, true
	}
	ctx, cancel := limit.context(ctx)
	defer cancel()
	send := func(verb daemon.UdevVerb, n int32, text string) {
		if err == nil {
			err = daemon.UdevControl(ctx, e.roots.RunDir(), verb, n, text)
		}
	}
	if *level != "" {
		n, ok := syslogLevels()[*level]
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

func syslogLevels() map[string]int32 {
	return map[string]int32{
		"emerg": 0, "alert": 1, "crit": 2, "err": 3, "error": 3, "warning": 4, "notice": 5, "info": 6, "debug": 7,
		"0": 0, "1": 1, "2": 2, "3": 3, "4": 4, "5": 5, "6": 6, "7": 7,
	}
}

// runTestBuiltin runs one builtin for a device and prints what it sets.
func runTestBuiltin(ctx context.Context, e *env, args []string) error {
	flags := pflag.NewFlagSet("test-builtin", pflag.ContinueOnError)
	action := flags.StringP("action", "a", "add", "as for an event with this `ACTION`")
	rest, err := e.parse(flags, args)
	if err != nil {
		return err
	}
	if *action == "help" {
		return e.printActions()
	}
	if !slices.Contains(actions, *action) {
		return misuse("unknown action %q", *action)
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
	initialized := flags.String("initialized", "yes", "wait until they have been handled: `BOOL`")
	removed := flags.Bool("removed", false, "wait until they are gone")
	settle := flags.Bool("settle", false, "then wait until the daemon has nothing more to do")
	devices, err := e.parse(flags, args)
	if err != nil {
		return err
	}
	handled, err := parseBoolean(*initialized)
	if err != nil {
		return misuse("option '--initialized': %v", err)
	}
	if len(devices) == 0 {
		return misuse("a device wanted")
	}
	for _, name := range devices {
		if !strings.HasPrefix(name, "/dev/") && !strings.HasPrefix(name, "/sys/") {
			return misuse("%s: a path that begins with /dev/ or /sys/ is wanted", name)
		}
	}
	until := "handled"
	switch {
	case *removed:
		until = "gone"
	case !handled:
		until = "there"
	}
	limited, cancel := limit.context(ctx)
	defer cancel()
	for _, name := range devices {
		for !e.waitDone(name, *removed, handled) {
			select {
			case <-time.After(20 * time.Millisecond): // sysfs tells nobody
			case <-limited.Done():
				if ctx.Err() != nil {
					return fmt.Errorf("wait until %s is %s: interrupted", name, until)
				}
				return fmt.Errorf("%s is not %s after %v", name, until, limit.d)
			}
		}
	}
	if *settle {
		return runSettle(ctx, e, nil)
	}
	return nil
}

// parseBoolean reads a boolean as systemd's programs do.
func parseBoolean(s string) (bool, error) {
	switch strings.ToLower(s) {
	case "1", "yes", "y", "true", "t", "on":
		return true, nil
	case "0", "no", "n", "false", "f", "off":
		return false, nil
	}
	return false, fmt.Errorf("%q is neither yes nor no", s)
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
	devices := flags.StringArrayP("device", "d", nil, "lock the whole disk of `DEVICE`")
	backing := flags.StringArrayP("backing", "b", nil, "lock the whole disk that the file system of `PATH` lies on")
	limit := timeoutFlag(flags, "t")
	show := flags.BoolP("print", "p", false, "print what would be locked")
	cmd, err := e.parseFirst(flags, args)
	if err != nil {
		return err
	}
	switch {
	case len(*devices)+len(*backing) == 0:
		return misuse("a device to lock wanted")
	case len(cmd) == 0 && !*show:
		return misuse("a command wanted")
	case len(cmd) > 0 && *show:
		return misuse("%s: no command wanted with --print", cmd[0])
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
			return fmt.Errorf("%s lies on no disk", path)
		}
		node, err := e.wholeDisk("/dev/" + dev.Devname())
		if err != nil {
			return err
		}
		nodes = append(nodes, node)
	}
	slices.Sort(nodes) // so that two who lock the same disks do not wait for one another
	nodes = slices.Compact(nodes)
	if *show {
		for _, n := range nodes {
			fmt.Fprintln(e.stdout, n)
		}
		return nil
	}
	limited, cancel := limit.context(ctx)
	defer cancel()
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
			select {
			case <-time.After(50 * time.Millisecond):
			case <-limited.Done():
				if ctx.Err() != nil {
					return fmt.Errorf("lock %s: interrupted", node)
				}
				return fmt.Errorf("lock %s: another program has it locked, after %v still", node, limit.d)
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
	if err != nil {
		return fmt.Errorf("run %s: %w", cmd[0], err)
	}
	return nil
}

// wholeDisk returns the node of the disk that a block device is, or is part of.
func (e *env) wholeDisk(name string) (string, error) {
	dev, err := e.roots.DeviceByNode(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s: no such device", name)
	}
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
