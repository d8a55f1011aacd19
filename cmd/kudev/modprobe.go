package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/kudev/kudev/modload"
)

func modprobeOptions() []getoptOption {
	return append([]getoptOption{
		{id: "all", short: 'a', long: "all"},
		{id: "remove", short: 'r', long: "remove"},
		{id: "holders", long: "remove-dependencies"},
		{id: "holders", long: "remove-holders"},
		{id: "wait", short: 'w', long: "wait", value: true},
		{id: "resolve", short: 'R', long: "resolve-alias"},
		{id: "first", long: "first-time"},
		{id: "ignore", short: 'i', long: "ignore-install"},
		{id: "ignore", short: 'i', long: "ignore-remove"},
		{id: "blacklist", short: 'b', long: "use-blacklist"},
		{id: "force", short: 'f', long: "force"},
		{id: "modversion", long: "force-modversion"},
		{id: "vermagic", long: "force-vermagic"},
		{id: "depends", short: 'D', long: "show-depends"},
		{id: "config", short: 'c', long: "showconfig"},
		{id: "config", short: 'c', long: "show-config"},
		{id: "versions", long: "show-modversions"},
		{id: "versions", long: "dump-modversions"},
		{id: "exports", long: "show-exports"},
		{id: "dry", short: 'n', long: "dry-run"},
		{id: "dry", short: 'n', long: "show"},
		{id: "path", short: 'C', long: "config", value: true},
		{id: "root", short: 'd', long: "dirname", value: true},
		{id: "release", short: 'S', long: "set-version", value: true},
		{id: "syslog", short: 's', long: "syslog"},
		{id: "quiet", short: 'q', long: "quiet"},
		{id: "verbose", short: 'v', long: "verbose"},
		{id: "version", short: 'V', long: "version"},
		{id: "help", short: 'h', long: "help"},
		{id: "list", short: 'l', long: "list"},
		{id: "type", short: 't', long: "type", value: true},
	}, treeOptions()...)
}

// modprobe is one call of it.
type modprobe struct {
	*applet
	cfg   *modload.Config
	index *modload.Index
	out   *bufio.Writer
	mu    sync.Mutex // around out: modules are loaded side by side, and what is under way when a signal ends the wait still says so

	all, remove, resolve, list bool
	holders, first, ignore     bool
	blacklist, depends, dry    bool
	force                      modload.InsertFlags
	wait                       time.Duration
	directory                  string   // of -t
	parameters                 string   // of what is being loaded, as given
	children                   []string // what is added to MODPROBE_OPTIONS for install and remove commands
}

// runModprobe loads and removes modules with all that they need. See modprobe(8); -l and -t are those of module-init-tools.
func runModprobe(ctx context.Context, e *env, args []string) error {
	m := &modprobe{applet: &applet{env: e, level: modload.LevelWarn}, out: bufio.NewWriter(e.stdout)}
	defer func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.out.Flush()
	}()
	found, rest, err := m.arguments(args)
	if err != nil {
		return err
	}
	show := ""
	var paths []string
	tree := treeChoice{rootFlag: "-d", releaseFlag: "-S"}
	for _, f := range found {
		switch f.id {
		case "all":
			m.all = true
		case "remove":
			m.remove = true
		case "holders":
			m.holders = true
		case "wait":
			ms, err := strconv.ParseUint(f.value, 0, 63)
			if err != nil {
				m.errorf("unexpected wait value '%s'.", f.value)
				return exitStatus(1)
			}
			m.wait = time.Duration(min(ms, 1<<40)) * time.Millisecond
		case "resolve":
			m.resolve = true
		case "first":
			m.first = true
		case "ignore":
			m.ignore = true
		case "blacklist":
			m.blacklist = true
		case "force":
			m.force |= modload.IgnoreModversions | modload.IgnoreVermagic
		case "modversion":
			m.force |= modload.IgnoreModversions
		case "vermagic":
			m.force |= modload.IgnoreVermagic
		case "depends":
			m.depends, m.dry = true, true
		case "config", "versions", "exports":
			show = f.id
		case "dry":
			m.dry = true
		case "path":
			paths = append(paths, f.value)
			m.children = append(m.children, "-C", f.value)
		case "syslog":
			m.syslog = true
			m.children = append(m.children, "-s")
		case "quiet":
			m.level = levelMute
			m.children = append(m.children, "-q")
		case "verbose":
			m.level -= modload.LevelWarn - modload.LevelInfo
			m.children = append(m.children, "-v")
		case "list":
			m.list = true
		case "type":
			m.directory = strings.Trim(f.value, "/")
		case "version":
			return m.kmodVersion()
		case "help":
			return m.modprobeHelp()
		default:
			tree.take(f)
		}
	}
	if len(rest) == 0 && show != "config" && !m.list {
		m.errorf("missing parameters. See -h.")
		return exitStatus(1)
	}
	switch show {
	case "versions", "exports":
		return m.showSymbols(rest[0], show == "exports")
	}
	if m.cfg, err = e.resolveOptions(tree.options(e)); err != nil {
		return err
	}
	if show != "config" && !m.list && !m.resolve && !m.dry {
		if err := m.cfg.Conflict(); err != nil {
			return err
		}
		ctx = untilSignal(ctx)
	}
	m.index, err = modload.Open(m.cfg, paths...)
	if err != nil && !errors.Is(err, modload.ErrNoTree) {
		m.errorf("%v", err)
	}
	if m.resolve && show == "" && !m.list && !m.remove { // asked often, in a process each: what it need not open is not looked at
		defer func() { m.warn(m.index.ProblemsSoFar()) }()
	} else {
		m.warn(m.index.Problems())
	}
	switch {
	case show == "config":
		return m.showConfig()
	case m.list:
		return m.listModules(rest)
	case m.remove:
		return m.each(rest, func(name string) error { return m.unload(ctx, name) })
	case m.all:
		return m.each(rest, func(name string) error { return m.load(ctx, name, "") })
	}
	return m.load(ctx, rest[0], moduleParameters(rest[1:]))
}

func (m *modprobe) warn(problems []modload.Problem) {
	for _, p := range problems {
		m.say(modload.LevelWarn, "%v", p)
	}
}

// arguments takes the options in MODPROBE_OPTIONS, then those of the command line. The environment may not choose the tree.
func (m *modprobe) arguments(args []string) (found []getoptResult, rest []string, err error) {
	options := modprobeOptions()
	if found, rest, err = m.getopt(options, modload.EnvironmentOptions()); err != nil {
		return nil, nil, err
	}
	for _, f := range found {
		switch f.id {
		case "root", "release", "module-root", "own-release":
			names := map[string]string{"root": "-d", "release": "-S", "module-root": "--module-root", "own-release": "--release"}
			m.errorf("MODPROBE_OPTIONS has %s %s: refused, the environment does not choose the tree; say it on the command line, or module_root in kudev.conf",
				names[f.id], f.value)
			return nil, nil, exitStatus(1)
		}
	}
	more, names, err := m.getopt(options, args)
	return append(found, more...), append(rest, names...), err
}

// moduleParameters joins a module's parameters to what the kernel takes: a value with blanks goes into quotes.
func moduleParameters(args []string) string {
	joined := make([]string, len(args))
	for i, a := range args {
		name, value, ok := strings.Cut(a, "=")
		if ok && strings.Contains(value, " ") && value[0] != '"' && value[0] != '\'' {
			a = name + "=\"" + value + "\""
		}
		joined[i] = a
	}
	return strings.Join(joined, " ")
}

// each goes on after a failure.
func (m *modprobe) each(names []string, do func(name string) error) error {
	var failed error
	for _, name := range names {
		if err := do(name); err != nil {
			failed = err
		}
	}
	return failed
}

// fatal is the level of what ends the program, unless there are more names to come.
func (m *modprobe) fatal() modload.Level {
	if m.all {
		return modload.LevelWarn
	}
	return levelFatal
}

func (m *modprobe) notFound(name string) error {
	m.say(m.fatal(), "Module %s not found in directory %s", name, m.cfg.WantedTree())
	return exitStatus(1)
}

// load loads what a name or an alias stands for, or shows what that would mean.
func (m *modprobe) load(ctx context.Context, name, parameters string) error {
	if m.resolve {
		some := false
		for match := range m.index.Match(name) {
			some = true
			fmt.Fprintln(m.out, match.Module)
		}
		if !some {
			return m.notFound(name)
		}
		return nil
	}
	request := modload.Request{
		Name:          name,
		Parameters:    parameters,
		UseBlacklist:  m.blacklist,
		IgnoreCommand: m.ignore,
		IgnoreLoaded:  m.depends,
		FirstTime:     m.first,
		Force:         m.force,
		DryRun:        m.dry,
	}
	m.parameters = parameters
	if m.depends || m.level < modload.LevelWarn {
		request.Step = m.step
	}
	outcomes, err := m.loader().Load(ctx, request)
	if errors.Is(err, modload.ErrNotFound) && len(outcomes) == 0 {
		return m.notFound(name)
	}
	if err == nil {
		return nil
	}
	said := false
	for i, o := range outcomes {
		// What failed because of another is said, with the other's name; the other is then not.
		again := slices.ContainsFunc(outcomes[i+1:], func(later modload.Outcome) bool { return later.Required && errors.Is(later.Err, o.Err) })
		if o.Err != nil && o.Required && !again {
			said = true
			m.errorf("could not insert '%s': %s", o.Module, insertCause(o.Module, o.Err))
		}
	}
	if !said {
		m.errorf("could not insert '%s': %v", name, err)
	}
	return exitStatus(1)
}

// insertCause is why a module could not be inserted, without its name, which the message has.
func insertCause(module string, err error) string {
	var refused *modload.InsertError
	switch {
	case errors.Is(err, modload.ErrLoaded):
		return "Module already in kernel"
	case errors.As(err, &refused) && refused.Module == module:
		return refused.Cause
	}
	return strings.TrimPrefix(err.Error(), "insert "+module+": ")
}

// unload takes what a name or an alias stands for out of the kernel.
func (m *modprobe) unload(ctx context.Context, name string) error {
	request := modload.RemoveRequest{
		Name:           name,
		Holders:        m.holders,
		Wait:           m.wait,
		Force:          m.force != 0,
		IgnoreCommands: m.ignore,
		FirstTime:      m.first,
		IgnoreLoaded:   m.depends,
		DryRun:         m.dry,
	}
	if m.depends || m.level < modload.LevelWarn {
		request.Step = m.step
	}
	err := m.loader().Remove(ctx, request)
	var stays *modload.RemoveError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, modload.ErrNotFound):
		m.say(m.fatal(), "Module %s not found.", name)
	case errors.As(err, &stays) && errors.Is(stays.Err, modload.ErrNotLoaded):
		m.say(m.fatal(), "Module %s is not in kernel.", stays.Module)
	case errors.As(err, &stays) && errors.Is(stays.Err, modload.ErrBuiltIn):
		m.say(m.fatal(), "Module %s is builtin.", stays.Module)
	case errors.As(err, &stays) && errors.Is(stays.Err, modload.ErrInUse):
		by := ""
		if len(stays.Holders) > 0 {
			by = " by: " + strings.Join(stays.Holders, " ")
		}
		m.say(m.fatal(), "Module %s is in use%s.", stays.Module, by)
	case errors.As(err, &stays):
		m.errorf("could not remove '%s': %s", stays.Module, strerror(stays.Err))
	default:
		if module, cause, ok := strings.Cut(strings.TrimPrefix(err.Error(), "remove "), ": "); ok {
			m.errorf("could not remove '%s': %s", module, cause)
		} else {
			m.errorf("%v", err)
		}
	}
	return exitStatus(1)
}

func (m *modprobe) loader() *modload.Loader {
	return modload.NewLoader(m.index, modload.NewKernel(m.cfg), modload.LoaderOptions{
		Log:   m.logger(),
		Shell: m.shell,
	})
}

// shell runs an install or remove command; a modprobe in it has this one's options.
func (m *modprobe) shell(ctx context.Context, command string, environment []string) error {
	if len(m.children) > 0 {
		environment = append(slices.Clip(environment), modload.WithEnvironmentOptions(m.children...))
	}
	return modload.Shell(ctx, command, environment)
}

// step prints what is done next: insmod's or rmmod's command line, or the command of modprobe.d. It is out before the thing is done: what a
// command prints comes after it.
func (m *modprobe) step(s modload.Step) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s.Parameters != "" && (m.parameters == "" || !strings.HasSuffix(s.Parameters, m.parameters)) {
		s.Parameters += " " // kmod puts a blank behind each option of modprobe.d
	}
	switch {
	case s.Command != "" && s.Remove:
		fmt.Fprintf(m.out, "remove %s\n", s.Command)
	case s.Command != "":
		fmt.Fprintf(m.out, "install %s %s\n", s.Command, s.Parameters)
	case s.Remove:
		fmt.Fprintf(m.out, "rmmod %s\n", s.Module)
	case s.BuiltIn:
		fmt.Fprintf(m.out, "builtin %s\n", s.Module)
	case s.Path != "":
		fmt.Fprintf(m.out, "insmod %s %s\n", s.Path, s.Parameters)
	}
	m.out.Flush()
}

// listModules prints the files of the tree's modules, by name; with patterns, those whose name matches one.
func (m *modprobe) listModules(patterns []string) error {
	if err := m.cfg.TreeError(); err != nil {
		m.errorf("%v", err)
		return exitStatus(1)
	}
	if len(patterns) == 0 {
		patterns = []string{"*"}
	}
	for e := range m.index.Modules() {
		path := strings.TrimPrefix(e.Path, m.index.Dir()+"/")
		if m.directory != "" && !strings.Contains("/"+path, "/"+m.directory+"/") {
			continue
		}
		for _, p := range patterns {
			if modload.MatchName(p, e.Name) {
				fmt.Fprintln(m.out, path)
				break
			}
		}
	}
	return nil
}

// showSymbols prints what a module's file was built against, or what it exports, with checksums.
func (m *modprobe) showSymbols(name string, exports bool) error {
	path, err := absolute(name)
	if err != nil {
		return err
	}
	if _, err := os.Stat(path); err != nil {
		m.say(m.fatal(), "Module %s not found.", name)
		return exitStatus(1)
	}
	what := "modversions"
	read := (*modload.Module).Versions
	if exports {
		what, read = "symbols", (*modload.Module).Exports
	}
	symbols, err := readSymbols(path, read)
	if err == nil && len(symbols) == 0 {
		err = errors.New("it has none")
	}
	if err != nil {
		m.say(m.fatal(), "could not get %s of %s: %s", what, name, strerror(err))
		return exitStatus(1)
	}
	for _, s := range symbols {
		fmt.Fprintf(m.out, "0x%08x\t%s\n", s.CRC, strings.TrimPrefix(s.Name, "."))
	}
	return nil
}

func readSymbols(path string, read func(*modload.Module) ([]modload.Symbol, error)) ([]modload.Symbol, error) {
	f, err := modload.OpenModule(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return read(f)
}

// showConfig prints what modprobe.d says, each line behind a comment that names its place, and then the indexes.
func (m *modprobe) showConfig() error {
	policy := m.index.Policy()
	for _, keyword := range []string{"blacklist", "install", "remove", "alias", "options", "softdep", "weakdep"} {
		for l := range policy.Lines() {
			if l.Keyword != keyword {
				continue
			}
			note := ""
			if first, ok := m.counts(l); !ok {
				note = " (does not count: " + first.Place() + " does)"
			}
			fmt.Fprintf(m.out, "# %s%s\n%s %s", l.Place(), note, keyword, l.Name)
			switch {
			case keyword == "softdep":
				fmt.Fprintf(m.out, " %s", softdepWords(l.Value))
			case l.Value != "":
				fmt.Fprintf(m.out, " %s", l.Value)
			}
			m.out.WriteByte('\n')
		}
	}
	m.out.WriteString("\n# End of configuration files. Dumping indexes now:\n\n")
	for pattern, module := range m.index.Aliases() {
		fmt.Fprintf(m.out, "alias %s %s\n", pattern, module)
	}
	for symbol, module := range m.index.Symbols() {
		fmt.Fprintf(m.out, "alias %s %s\n", symbol, module)
	}
	return nil
}

// softdepWords is what counts of a softdep line's words: those behind pre: or post:.
func softdepWords(value string) string {
	lists := map[string][]string{}
	list := ""
	for word := range strings.FieldsSeq(value) {
		if word == "pre:" || word == "post:" {
			list = word
		} else if list != "" {
			lists[list] = append(lists[list], word)
		}
	}
	var all []string
	for _, list := range []string{"pre:", "post:"} {
		if words := lists[list]; words != nil {
			all = append(append(all, list), words...)
		}
	}
	return strings.Join(all, " ")
}

// counts says whether a line has any effect: of several install or remove lines only the first has, and it is returned.
func (m *modprobe) counts(l modload.Line) (first modload.Line, ok bool) {
	switch l.Keyword {
	case "install":
		first, _ = m.index.Policy().InstallCommand(l.Name)
	case "remove":
		first, _ = m.index.Policy().RemoveCommand(l.Name)
	default:
		return l, true
	}
	return first, first == l
}

func (m *modprobe) modprobeHelp() error {
	return m.help([]string{
		"[OPTION...] MODULE|ALIAS [PARAMETER=VALUE...]",
		"[OPTION...] -a MODULE|ALIAS...",
		"[OPTION...] -r MODULE|ALIAS...",
		"[OPTION...] -c",
		"[OPTION...] -l [-t DIR] [WILDCARD...]",
		"--show-modversions|--show-exports FILE",
	},
		"-a, --all\teach argument is a module, none a parameter",
		"-r, --remove\tremove modules",
		"--remove-holders\tremove those that use them, too",
		"-w, --wait=MSEC\twait so long until a module that is to be removed is unused",
		"--first-time\tfail when it is loaded, or removed, already",
		"-i, --ignore-install, --ignore-remove\tdo not run the commands of modprobe.d for it",
		"-b, --use-blacklist\tthe blacklist holds for names too, not for aliases only",
		"-f, --force\tboth of the next",
		"--force-modversion\tignore the versions of symbols",
		"--force-vermagic\tignore the version magic",
		"-R, --resolve-alias\tonly print the modules' names",
		"-D, --show-depends\tonly print what would be loaded, were nothing loaded yet",
		"-c, --show-config\tprint the configuration, with each line's place, and the indexes",
		"-l, --list\tlist the tree's modules, or those that match a wildcard",
		"-t, --type=DIR\twith -l: only those in a directory of that name",
		"--show-modversions\tprint what a module's file was built against",
		"--show-exports\tprint what a module's file exports",
		"-n, --dry-run, --show\tdo nothing; with -v, say what would be done",
		"-C, --config=PATH\tread this file or directory, not modprobe.d; again for more",
		"-d, --dirname=DIR\tthe tree lies below DIR instead of /",
		"-S, --set-version=VERSION\tthe modules of this kernel, not of the running one",
		"-s, --syslog\tmessages go to syslog, not to stderr",
		"-q, --quiet\tno messages",
		"-v, --verbose\tsay what is done",
		treeHelp,
		"-V, --version\tshow the version",
		"-h, --help\tshow this")
}
