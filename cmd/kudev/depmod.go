package main

import (
	"bufio"
	"context"
	"errors"
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/kudev/kudev/modload"
)

func depmodOptions() []getoptOption {
	return append([]getoptOption{
		{id: "all", short: 'a', long: "all"},
		{id: "quick", short: 'A', long: "quick"},
		{id: "basedir", short: 'b', long: "basedir", value: true},
		{id: "moduledir", short: 'm', long: "moduledir", value: true},
		{id: "outdir", short: 'o', long: "outdir", value: true},
		{id: "config", short: 'C', long: "config", value: true},
		{id: "symvers", short: 'E', long: "symvers", value: true},
		{id: "filesyms", short: 'F', long: "filesyms", value: true},
		{id: "errsyms", short: 'e', long: "errsyms"},
		{id: "ignored", short: 'u', long: "unresolved-error"},
		{id: "ignored", short: 'q', long: "quiet"},
		{id: "ignored", short: 'r', long: "root"},
		{id: "verbose", short: 'v', long: "verbose"},
		{id: "show", short: 'n', long: "show"},
		{id: "show", short: 'n', long: "dry-run"},
		{id: "prefix", short: 'P', long: "symbol-prefix", value: true},
		{id: "warn", short: 'w', long: "warn"},
		{id: "version", short: 'V', long: "version"},
		{id: "help", short: 'h', long: "help"},
	}, treeOptions()...)
}

// runDepmod writes the indexes of a module tree. See depmod(8); where kmod 30 and later ones differ (-m, -o), it is the later.
func runDepmod(ctx context.Context, e *env, args []string) error {
	a := &applet{env: e, level: modload.LevelWarn}
	found, rest, err := a.getopt(depmodOptions(), args)
	if err != nil {
		return err
	}
	var o modload.DepmodOptions
	var all, quick, show bool
	var base, moduleDir, outRoot string
	tree := treeChoice{rootFlag: "-b", releaseFlag: "version"}
	for _, f := range found {
		switch f.id {
		case "all":
			all = true
		case "quick":
			quick = true
		case "basedir":
			if base, err = absolute(f.value); err != nil {
				return err
			}
		case "moduledir":
			moduleDir = strings.TrimLeft(f.value, "/")
		case "outdir":
			if outRoot, err = absolute(f.value); err != nil {
				return err
			}
		case "config":
			o.Config = append(o.Config, f.value)
		case "symvers":
			o.Symvers = f.value
		case "filesyms":
			o.SystemMap = f.value
		case "errsyms":
			o.ReportUnresolved = true
		case "verbose":
			a.level -= modload.LevelWarn - modload.LevelInfo
			o.Verbose = e.stdout
		case "show":
			show = true
		case "prefix":
			if len(f.value) != 1 {
				a.say(levelFatal, "-P only takes a single char")
				return exitStatus(1)
			}
			o.SymbolPrefix = f.value[0]
		case "warn":
			o.ReportDuplicates = true
		case "ignored":
			a.say(modload.LevelWarn, "Ignored deprecated option")
		case "help":
			return a.depmodHelp()
		case "version":
			return a.kmodVersion()
		default:
			tree.take(f)
		}
	}
	tree.root = base
	if len(rest) > 0 {
		tree.release, rest = rest[0], rest[1:]
		if !beginsWithVersion(tree.release) {
			a.errorf("Bad version passed %s", tree.release)
			return exitStatus(1)
		}
	}
	cfg, err := e.resolveOptions(tree.options(e))
	if err != nil {
		return err
	}
	o.Dir, o.Release, o.Log = cfg.WantedTree(), cfg.Release(), a.logger()
	if moduleDir != "" {
		o.Dir = cfg.TreeBelow(cfg.Roots()[0], moduleDir)
	}
	if outRoot != "" {
		o.OutDir = cfg.TreeBelow(outRoot, moduleDir)
	}
	if o.Config == nil {
		for _, dir := range modload.DepmodConfigDirs() {
			o.Config = append(o.Config, cfg.Path(dir))
		}
	}
	if !all && !quick && len(rest) > 0 {
		o.Files = rest
	}
	o.Quick = quick
	stdout := bufio.NewWriter(e.stdout)
	if o.Verbose != nil {
		o.Verbose = stdout
	}
	if show {
		if quick {
			return nil
		}
		o.Show = stdout
	}
	err = modload.Depmod(ctx, o)
	if ferr := stdout.Flush(); err == nil {
		err = ferr
	}
	return a.depmodError(o.Dir, err)
}

// depmodError says why there are no new indexes.
func (a *applet) depmodError(dir string, err error) error {
	var cycle *modload.CycleError
	var path *fs.PathError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &cycle):
		for _, c := range cycle.Cycles {
			a.errorf("Cycle detected: %s", strings.Join(c, " -> "))
		}
		a.errorf("Found %d modules in dependency cycles!", cycle.Modules)
	case errors.As(err, &path) && path.Path == dir:
		a.errorf("could not open directory %s: %s", dir, strerror(path.Err))
		a.say(levelFatal, "could not search modules: %s", strerror(path.Err))
	default:
		text := err.Error()
		var errno unix.Errno
		if errors.As(err, &errno) {
			if rest, ok := strings.CutSuffix(text, errno.Error()); ok {
				text = rest + modload.ErrnoText(errno)
			}
		}
		a.say(levelFatal, "%s", text)
	}
	return exitStatus(1)
}

// beginsWithVersion says whether a release begins with two numbers and a point between them.
func beginsWithVersion(release string) bool {
	rest := strings.TrimLeft(release, "0123456789")
	return rest != release && len(rest) > 1 && rest[0] == '.' && rest[1] >= '0' && rest[1] <= '9'
}

func (a *applet) depmodHelp() error {
	return a.help([]string{"[-a | -A] [OPTION...] [VERSION]", "[OPTION...] VERSION FILE..."},
		"-a, --all\tread all modules of the tree: what happens without files anyhow",
		"-A, --quick\tdo nothing unless a module is newer than modules.dep",
		"-b, --basedir=DIR\tthe tree lies below DIR instead of /",
		"-m, --moduledir=DIR\twhere trees lie below that, instead of lib/modules",
		"-o, --outdir=DIR\twrite below DIR",
		"-C, --config=PATH\tread this file or directory, not depmod.d; again for more",
		"-e, --errsyms\treport symbols that nobody has (with -E or -F)",
		"-E, --symvers=FILE\tcheck symbols against this Module.symvers",
		"-F, --filesyms=FILE\tthe kernel's symbols are in this System.map",
		"-n, --show, --dry-run\tprint the indexes instead of writing them",
		"-P, --symbol-prefix=CHAR\tsymbols have this character in front",
		"-v, --verbose\tsay which module needs which symbol of which",
		"-w, --warn\treport duplicates",
		treeHelp,
		"-V, --version\tshow the version",
		"-h, --help\tshow this")
}
