// Command kudev is a hotplug device manager for Linux that is about kernel modules first.
//
// kudev CMD runs a command; kudev help lists them. Called by the name of one of kmod's or udev's programs (modprobe,
// insmod, rmmod, lsmod, modinfo, depmod, udevadm) it is that program.
//
// Two habits of the runtime are switched off: to read the control group's limit on processors anew every second, which wakes
// a daemon that has nothing to do, and to name each memory mapping, a system call each in programs that are over in milliseconds.
//
//go:debug updatemaxprocs=0
//go:debug decoratemappings=0
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/spf13/pflag"
)

// Set by the linker: -X main.version=… -X main.moduleRoot=…
var (
	version    = "unknown"
	moduleRoot = "" // the value of module_root where nothing else names one
)

// A command is one of kudev's, in a file of its own.
type command struct {
	name     string
	synopsis string // what follows the name in the usage line
	short    string // what it does, for kudev help; "" hides it there
	run      func(ctx context.Context, e *env, args []string) error
}

// commands is every command there is.
func commands() []command {
	return []command{
		{"check", "[--json] [--module-root DIR]... [--release VERSION]", "say what is wrong with the module tree, and what to do", runCheck},
		{"coldplug", "[-n] [--timeout=SECONDS] [--wait-for=LINK|DEVICE] [--json]", "replay every device, and return when all is done", runColdplug},
		{"config", "[--json] [--module-root DIR]... [--release VERSION]", "show every setting and where it comes from", runConfig},
		{"daemon", "[--coldplug] [--ready-fd=N] [--rules-dir=DIR...]", "be the hotplug daemon, in the foreground", runDaemon},
		{"depmod", "[OPTION...] [VERSION [FILE...]]", "write the indexes of a module tree", runDepmod},
		{"explain", "[--all] [--json] DEVICE|MODULE|ALIAS", "say why a device or a module is as it is", runExplain},
		{"help", "[CMD]", "list the commands, or show how to use one", runHelp},
		{"hwdb", "[--usr] [--strict] [--root DIR] update|query MODALIAS", "compile the hardware database, or ask it", runHwdb},
		{"info", "[OPTION...] DEVICE...", "show what is known of devices", runInfo},
		{"insmod", "[OPTION...] FILE [PARAMETER=VALUE...]", "hand one module's file to the kernel", runInsmod},
		{"kmod", "list|static-nodes|help", "what the program kmod does", runKmod},
		{"load", "[-v] [-n] [--json] [--module-root DIR]... [--release VERSION] [FILE...]", "load what modules-load.d, /etc/modules and modules_load= ask for", runLoad},
		{"lsmod", "[--json]", "list the modules in the kernel", runLsmod},
		{"modinfo", "[OPTION...] MODULE|ALIAS|FILE...", "show what modules say of themselves", runModinfo},
		{"modprobe", "[OPTION...] MODULE|ALIAS [PARAMETER=VALUE...]", "load or remove modules with all that they need", runModprobe},
		{"modules", "[--files] [--from DIR] [--json] [--module-root DIR]... [--release VERSION] [NAME|ALIAS...]", "list the modules that this machine's devices need", runModules},
		{"monitor", "[-k] [-u] [-p] [-s SUBSYSTEM[/DEVTYPE]] [-t TAG] [--match=RULE] [--json] [--decisions]", "print events, or what the daemon decides", runMonitor},
		{"plot", "[--text] [--from=FILE]", "draw when modules were loaded and devices handled", runPlot},
		{"record", "[-o FILE] [-n N]", "write the kernel's events down", runRecord},
		{"replay", "--dev=DIR --run=DIR [--sysfs=DIR] [--rules-dir=DIR...] FILE", "handle the events of a recording", runReplay},
		{"resolve", "[--json] [--module-root DIR]... [--release VERSION] [MODALIAS...]", "say which modules a modalias stands for", runResolve},
		{"rmmod", "[OPTION...] MODULE...", "take modules out of the kernel", runRmmod},
		{"seal", "[--forever]", "end all loading of modules but for what is allowed", runSeal},
		{"settle", "[--timeout=SECONDS] [--exit-if-exists=FILE] [--wait-for=LINK|DEVICE] [--json] [-v]", "wait until the daemon has nothing more to do", runSettle},
		{"static-nodes", "[OPTION...]", "list the nodes that modules want before they are loaded", runStaticNodes},
		{"status", "[--json]", "show what the daemon does and has done", runStatus},
		{"test", "[-a ACTION] [-v] [--apply --sysfs=DIR --dev=DIR --run=DIR --rules-dir=DIR... --hwdb=FILE] DEVICE", "say what an event would do, or do it without a daemon", runTest},
		{"trigger", "[OPTION...] [DEVICE...]", "announce devices again", runTrigger},
		{"udevadm", "COMMAND [OPTION...]", "what the program udevadm does", runUdevadm},
		{"verify", "[OPTION...] [FILE...]", "check rules files", runVerify},
		{"version", "", "show the version", runVersion},
	}
}

// applets are the commands that kudev also is when it is called by their name.
var applets = [...]string{"modprobe", "insmod", "rmmod", "lsmod", "modinfo", "depmod", "kmod", "udevadm"}

func isApplet(name string) bool { return slices.Contains(applets[:], name) }

func main() {
	ctx, e := context.Background(), newEnv()
	if !brief(os.Args) {
		ctx = untilSignal(ctx)
		e.stdin = &interruptedReader{ctx: ctx, r: e.stdin}
	}
	os.Exit(run(ctx, e, os.Args))
}

// untilSignal returns a context that ends with the first SIGINT or SIGTERM. The second ends the program, whatever it is doing.
func untilSignal(ctx context.Context) context.Context {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx
}

// brief says whether a call is of a command that is over in milliseconds, or sees to signals itself once it is about to change
// something: a signal ends it like any program. The runtime's machinery for signals takes a thread and a good part of that time.
func brief(argv []string) bool {
	for i, arg := range argv[:min(len(argv), 2)] {
		if i == 0 {
			arg = filepath.Base(arg)
		}
		switch arg {
		case "modprobe", "insmod", "rmmod", "lsmod", "modinfo", "kmod", "static-nodes", "config", "version", "help":
			return true
		}
		if i == 0 && isApplet(arg) {
			return false
		}
	}
	return false
}

// run is the whole program: 0 done, 1 failed, 2 misused, which for udevadm is 1 too.
func run(ctx context.Context, e *env, argv []string) int {
	if name, ok := kernelRequest(argv, e.parentIsKernel); ok {
		e.name = "kudev"
		return e.status(runKernelRequest(ctx, e, name))
	}
	name, args := "", argv
	if len(argv) > 0 {
		name, args = filepath.Base(argv[0]), argv[1:]
	}
	if isApplet(name) {
		e.name = name
	} else {
		if len(args) == 0 {
			fmt.Fprintln(e.stderr, "usage: kudev CMD [ARG...]; kudev help lists the commands")
			return 2
		}
		name, args = args[0], args[1:]
		switch name {
		case "-h", "--help":
			name = "help"
		case "-V", "--version":
			name = "version"
		}
		e.name = "kudev " + name
	}
	c, ok := findCommand(name)
	if !ok {
		fmt.Fprintf(e.stderr, "kudev: no command is called %s; kudev help lists them\n", name)
		return 2
	}
	e.command = c
	return e.status(c.run(ctx, e, args))
}

func findCommand(name string) (command, bool) {
	for _, c := range commands() {
		if c.name == name {
			return c, true
		}
	}
	return command{}, false
}

// usageError is a misuse: exit status 2, with the usage line.
type usageError struct{ err error }

func (u usageError) Error() string { return u.err.Error() }
func (u usageError) Unwrap() error { return u.err }

// misuse returns a usageError.
func misuse(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// exitStatus is the error of a command that has said everything itself and ends with this status.
type exitStatus int

func (s exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// status reports a command's error and returns the program's exit status for it.
func (e *env) status(err error) int {
	var misused usageError
	var status exitStatus
	switch {
	case err == nil:
		return 0
	case errors.As(err, &status):
		return int(status)
	case errors.As(err, &misused) && !e.udevadm:
		fmt.Fprintf(e.stderr, "%s: %v\n", e.name, err)
		fmt.Fprintf(e.stderr, "usage: %s\n", e.usageLine())
		return 2
	}
	fmt.Fprintf(e.stderr, "%s: %v\n", e.name, err)
	return 1
}

func (e *env) usageLine() string {
	if e.command.synopsis == "" {
		return e.name
	}
	return e.name + " " + e.command.synopsis
}

// parse parses a command's flags as getopt_long does, and returns what is left. --help and -h show the usage and end the
// command with 0.
func (e *env) parse(flags *pflag.FlagSet, args []string) ([]string, error) {
	return e.parseOptions(flags, args, false)
}

// parseFirst is parse for a command whose options end with its first argument.
func (e *env) parseFirst(flags *pflag.FlagSet, args []string) ([]string, error) {
	return e.parseOptions(flags, args, true)
}

func (e *env) parseOptions(flags *pflag.FlagSet, args []string, first bool) ([]string, error) {
	flags.SortFlags = false
	options := []getoptOption{{id: "help", short: 'h', long: "help"}}
	if e.udevadm {
		options = append(options, getoptOption{id: "version", short: 'V', long: "version"})
	}
	flags.VisitAll(func(f *pflag.Flag) {
		o := getoptOption{id: f.Name, long: f.Name, value: f.NoOptDefVal == "", optional: f.NoOptDefVal != "", absent: f.NoOptDefVal}
		if f.Shorthand != "" {
			o.short = f.Shorthand[0]
		}
		if t := f.Value.Type(); t == "bool" || t == "boolfunc" {
			o.optional = false
		}
		options = append(options, o)
	})
	found, rest, err := getopt(options, args, first)
	if err != nil {
		return nil, usageError{err}
	}
	for _, f := range found {
		switch flag := flags.Lookup(f.id); {
		case flag == nil && f.id == "help":
			e.printHelp(flags)
			return nil, exitStatus(0)
		case flag == nil:
			fmt.Fprintln(e.stdout, udevadmVersion)
			return nil, exitStatus(0)
		default:
			if err := flags.Set(f.id, f.value); err != nil {
				return nil, usageError{fmt.Errorf("option '--%s': %w", f.id, errors.Unwrap(err))}
			}
		}
	}
	return rest, nil
}

func runHelp(ctx context.Context, e *env, args []string) error {
	args, err := e.parse(pflag.NewFlagSet("help", pflag.ContinueOnError), args)
	if err != nil {
		return err
	}
	if len(args) > 1 {
		return misuse("one command at most")
	}
	if len(args) == 1 {
		c, ok := findCommand(args[0])
		if !ok {
			return misuse("no command is called %s", args[0])
		}
		e.name, e.command = "kudev "+c.name, c
		return c.run(ctx, e, []string{"--help"})
	}
	fmt.Fprint(e.stdout, "kudev is a hotplug device manager for Linux: events, rules, kernel modules.\n\nusage: kudev CMD [ARG...]\n\n")
	for _, c := range commands() {
		if c.short != "" {
			fmt.Fprintf(e.stdout, "  %-13s %s\n", c.name, c.short)
		}
	}
	fmt.Fprint(e.stdout, "\nkudev CMD --help shows how to use one. Exit status: 0 done, 1 failed, 2 misused.\n")
	return nil
}

func runVersion(ctx context.Context, e *env, args []string) error {
	rest, err := e.parse(pflag.NewFlagSet("version", pflag.ContinueOnError), args)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return misuse("no arguments wanted")
	}
	_, err = fmt.Fprintln(e.stdout, "kudev", version)
	return err
}
