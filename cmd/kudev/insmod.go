package main

import (
	"context"
	"errors"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/kudev/kudev/modload"
)

// runInsmod hands the kernel one module's file: no dependencies, no configuration but kudev.conf's forbid and allow lists. See insmod(8).
func runInsmod(ctx context.Context, e *env, args []string) error {
	a := &applet{env: e, level: modload.LevelWarn}
	found, rest, err := a.getopt([]getoptOption{
		{id: "ignored", short: 'p'},
		{id: "syslog", short: 's', long: "syslog"},
		{id: "verbose", short: 'v', long: "verbose"},
		{id: "force", short: 'f', long: "force"},
		{id: "vermagic", long: "force-vermagic"},
		{id: "modversion", long: "force-modversion"},
		{id: "version", short: 'V', long: "version"},
		{id: "help", short: 'h', long: "help"},
	}, args)
	if err != nil {
		return err
	}
	var force modload.InsertFlags
	for _, f := range found {
		switch f.id {
		case "syslog":
			a.syslog = true
		case "verbose":
			a.level = modload.LevelInfo
		case "force":
			force |= modload.IgnoreModversions | modload.IgnoreVermagic
		case "vermagic":
			force |= modload.IgnoreVermagic
		case "modversion":
			force |= modload.IgnoreModversions
		case "version":
			return a.kmodVersion()
		case "help":
			return a.help([]string{"[OPTION...] FILE [PARAMETER=VALUE...]"},
				"-f, --force\tboth of the next",
				"--force-modversion\tignore the versions of symbols",
				"--force-vermagic\tignore the version magic",
				"-s, --syslog\tmessages go to syslog, not to stderr",
				"-v, --verbose\tsay what is done",
				"-V, --version\tshow the version",
				"-h, --help\tshow this")
		}
	}
	if len(rest) == 0 {
		a.errorf("missing filename.")
		return exitStatus(1)
	}
	name := rest[0]
	if name == "-" {
		a.errorf("this tool does not support loading from stdin!")
		return exitStatus(1)
	}
	path, err := absolute(name)
	if err != nil {
		return err
	}
	if _, err := os.Stat(path); err != nil {
		a.errorf("could not load module %s: %s", name, strerror(err))
		return exitStatus(1)
	}
	cfg, err := e.resolve(nil)
	if err != nil {
		return err
	}
	index, _ := modload.Open(cfg) // for its policy: the tree, or that there is none, does not matter here
	if err := index.Refusal(modload.ModuleName(path), ""); err != nil {
		a.errorf("could not insert module %s: %v", name, err)
		return exitStatus(1)
	}
	parameters := strings.Join(rest[1:], " ")
	untilSignal(ctx) // what the kernel has begun is waited for
	a.say(modload.LevelInfo, "insmod %s %s", path, parameters)
	if err := modload.InsertFile(modload.NewKernel(cfg), path, parameters, force); err != nil {
		a.errorf("could not insert module %s: %s", name, withExporter(index, insertCause(modload.ModuleName(path), err)))
		return exitStatus(1)
	}
	return nil
}

// withExporter is why a module could not be inserted, and where a symbol is missing, the module that has it.
func withExporter(index *modload.Index, cause string) string {
	if rest, ok := strings.CutPrefix(cause, "Unknown symbol "); ok {
		symbol, _, _ := strings.Cut(rest, " ")
		for m := range index.Match("symbol:" + symbol) {
			return cause + ": " + m.Module + " has it, which modprobe loads first"
		}
	}
	return cause
}

// runRmmod takes modules out of the kernel, one by one: nothing that they brought along. See rmmod(8).
func runRmmod(ctx context.Context, e *env, args []string) error {
	a := &applet{env: e, level: modload.LevelError}
	found, rest, err := a.getopt([]getoptOption{
		{id: "force", short: 'f', long: "force"},
		{id: "syslog", short: 's', long: "syslog"},
		{id: "verbose", short: 'v', long: "verbose"},
		{id: "ignored", short: 'w'}, // once: wait until it is unused; the kernel has no such thing any more
		{id: "version", short: 'V', long: "version"},
		{id: "help", short: 'h', long: "help"},
	}, args)
	if err != nil {
		return err
	}
	force := false
	for _, f := range found {
		switch f.id {
		case "force":
			force = true
		case "syslog":
			a.syslog = true
		case "verbose":
			a.level -= modload.LevelWarn - modload.LevelInfo
		case "ignored":
			a.errorf("unexpected getopt_long() value 'w'.")
			return exitStatus(1)
		case "version":
			return a.kmodVersion()
		case "help":
			return a.help([]string{"[OPTION...] MODULE..."},
				"-f, --force\tthough it is in use: the kernel must be built for that, and may crash",
				"-s, --syslog\tmessages go to syslog, not to stderr",
				"-v, --verbose\tsay what is done",
				"-V, --version\tshow the version",
				"-h, --help\tshow this")
		}
	}
	if len(rest) == 0 {
		a.errorf("missing module name.")
		return exitStatus(1)
	}
	cfg, err := e.resolve(nil)
	if err != nil {
		return err
	}
	index, _ := modload.Open(cfg) // to know what is built in
	kernel := modload.NewKernel(cfg)
	ctx = untilSignal(ctx)
	failed := false
	for _, arg := range rest {
		name := modload.ModuleName(arg)
		if !force && !a.unused(index, kernel, name) {
			failed = true
			continue
		}
		a.say(modload.LevelInfo, "rmmod %s", name)
		if err := modload.RemoveModule(ctx, kernel, name, force, 0); err != nil {
			failed = true
			var stays *modload.RemoveError
			if errors.As(err, &stays) {
				err = stays.Err
			}
			text := strerror(err)
			if errors.Is(err, unix.ENOENT) {
				text = "Module is not in kernel"
			}
			a.errorf("could not remove module %s: %s", arg, text)
		}
	}
	if failed {
		return exitStatus(1)
	}
	return nil
}

// unused says whether a module can be removed, and if not, why.
func (a *applet) unused(index *modload.Index, kernel modload.Kernel, name string) bool {
	state := kernel.State(name)
	if index.BuiltIn(name) {
		a.errorf("Module %s is builtin.", name)
		return false
	}
	if state == modload.ModuleAbsent {
		a.errorf("Module %s is not currently loaded", name)
		return false
	}
	count, holders, err := kernel.Users(name)
	switch {
	case err != nil:
		a.errorf("could not tell who uses %s: %s", name, strerror(err))
	case len(holders) > 0:
		a.errorf("Module %s is in use by: %s", name, strings.Join(holders, " "))
	case count > 0:
		a.errorf("Module %s is in use", name)
	default:
		return true
	}
	return false
}
