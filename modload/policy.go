package modload

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"slices"
	"strings"
)

// A Policy is what the machine's owner says of modules: modprobe.d(5), the softdep and weakdep lines that modules bring along, the kernel
// command line, and the forbid and allow lists of kudev.conf. It is read once, whole, and never changes; any number of goroutines may
// use it.
//
// Unlike kmod, all softdep lines of a module count, not only the first, and a module with softdeps keeps its install command.
type Policy struct {
	lines     []Line // in the order in which they were read
	aliases   []Line
	blacklist map[string]int  // places in lines
	optioned  map[string]bool // the modules and aliases that have options
	install   map[string]int
	remove    map[string]int
	softdeps  []int // lines, by their place
	forbid    []Pattern
	allow     []Pattern
	sealed    string // the file that says so, or ""
	problems  []Problem
	read      []string // files and directories, those too that are not there: what would change the policy
}

// A Softdep is what modules.softdep and modprobe.d ask to load beside a module: all its lines together, each name once.
type Softdep struct {
	Pre, Post []string // as written: module names or aliases
	Lines     []Line
}

// readPolicy reads the policy that goes with a tree. paths are files and directories that replace the directories of modprobe.d(5), as
// modprobe's -C does. What cannot be read is among [Policy.Problems]; the rest counts.
func readPolicy(cfg *Config, t *tree, paths []string) *Policy {
	if len(paths) == 0 {
		for _, dir := range modprobeDirs {
			paths = append(paths, cfg.Path(dir))
		}
	}
	p := readModprobe(t, paths, cfg.CommandLine())
	p.forbid, p.allow = cfg.Forbid(), cfg.Allow()
	seal := cfg.Path(SealFile)
	p.read = append(p.read, seal)
	if _, err := os.Stat(seal); err == nil {
		p.sealed = SealFile
	}
	return p
}

// SealFile is there while loading has ended but for what the allow list names: see [Seal].
const SealFile = "/run/kudev/sealed"

// readModprobe reads modprobe.d and what goes with it.
func readModprobe(t *tree, paths []string, commandLine string) *Policy {
	p := &Policy{}
	files, problems := policyFiles(t.dir, paths)
	p.problems = problems
	p.read = append(p.read, paths...)
	for _, f := range files {
		p.read = append(p.read, f.path)
		var data []byte
		var err error
		if text, ok := t.texts[f.base]; ok {
			data = []byte(text)
		} else {
			data, err = readFile(f.path)
		}
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				p.problems = append(p.problems, Problem{File: f.path, Text: cause(err).Error()})
			}
			continue
		}
		p.take(parseModprobe(f.path, data))
	}
	p.take(parseModuleCommandLine(commandLine))
	return p
}

// take adds the entries of one file.
func (p *Policy) take(lines []Line, problems []Problem) {
	p.problems = append(p.problems, problems...)
	if p.lines == nil {
		p.lines = lines
	} else {
		p.lines = append(p.lines, lines...)
	}
	first := func(m *map[string]int, name string, place int) {
		if *m == nil {
			*m = map[string]int{}
		}
		if _, ok := (*m)[name]; !ok {
			(*m)[name] = place
		}
	}
	for i := range lines {
		l, place := &lines[i], len(p.lines)-len(lines)+i
		switch l.Keyword {
		case "alias":
			p.aliases = append(p.aliases, *l)
		case "blacklist":
			first(&p.blacklist, l.Name, place)
		case "options":
			if p.optioned == nil {
				p.optioned = map[string]bool{}
			}
			p.optioned[l.Name] = true
		case "install":
			first(&p.install, l.Name, place)
		case "remove":
			first(&p.remove, l.Name, place)
		case "softdep":
			p.softdeps = append(p.softdeps, place)
		}
	}
}

func (s *Softdep) add(l Line) {
	s.Lines = append(s.Lines, l)
	var list *[]string
	for f := range strings.FieldsSeq(l.Value) {
		switch {
		case f == "pre:":
			list = &s.Pre
		case f == "post:":
			list = &s.Post
		case list != nil && !slices.Contains(*list, f):
			*list = append(*list, f)
		}
	}
}

// Lines yields the entries in the order in which they count.
func (p *Policy) Lines() iter.Seq[Line] { return slices.Values(p.lines) }

// Problems are the lines and files that could not be used.
func (p *Policy) Problems() []Problem { return slices.Clone(p.problems) }

// Blacklisted returns the blacklist line of a module. Unlike forbid, it stops only what was asked for by an alias: see [Request].
func (p *Policy) Blacklisted(module string) (Line, bool) {
	return p.line(p.blacklist, module)
}

func (p *Policy) line(places map[string]int, module string) (Line, bool) {
	place, ok := places[module]
	if !ok {
		return Line{}, false
	}
	return p.lines[place], true
}

// Options returns the options of a module: the lines for its name and for the alias it was asked for by, "" for none.
func (p *Policy) Options(module, alias string) string {
	if !p.optioned[module] && (alias == "" || !p.optioned[alias]) {
		return ""
	}
	var all []string
	for _, l := range p.lines {
		if l.Keyword == "options" && (l.Name == module || alias != "" && l.Name == alias) {
			all = append(all, l.Value)
		}
	}
	return strings.Join(all, " ")
}

// InstallCommand returns the line whose command is run in place of loading the module.
func (p *Policy) InstallCommand(module string) (Line, bool) {
	return p.line(p.install, module)
}

// RemoveCommand returns the line whose command is run in place of removing the module.
func (p *Policy) RemoveCommand(module string) (Line, bool) {
	return p.line(p.remove, module)
}

// Softdeps returns what is to be loaded before and after a module.
func (p *Policy) Softdeps(module string) (s Softdep) {
	for _, i := range p.softdeps {
		if p.lines[i].Name == module {
			s.add(p.lines[i])
		}
	}
	return s
}

// Weakdeps returns what a module may ask for by itself when it is loaded: nobody loads them, an initramfs takes them in.
func (p *Policy) Weakdeps(module string) (names []string) {
	for _, l := range p.lines {
		if l.Keyword != "weakdep" || l.Name != module {
			continue
		}
		for f := range strings.FieldsSeq(l.Value) {
			if !slices.Contains(names, f) {
				names = append(names, f)
			}
		}
	}
	return names
}

// A ForbiddenError says why a module may not be loaded: a line of kudev.conf forbids it, or there is an allow list and it is not on it,
// or loading has been sealed.
type ForbiddenError struct {
	Module string
	Alias  string  // by which it was asked for, where that is what the line forbids
	Line   Pattern // the forbid line; the first allow line, where the module is on none
	Allow  bool    // it is missing from the allow list
	Sealed string  // the file that says that loading has ended, or ""
}

func (e *ForbiddenError) Error() string {
	what := e.Module
	if e.Alias != "" {
		what = e.Alias
	}
	switch {
	case e.Sealed != "":
		return fmt.Sprintf("%s is refused: loading is sealed (%s) and no allow line names it", what, e.Sealed)
	case e.Allow:
		return fmt.Sprintf("%s is refused: no allow line names it (the first: %s)", what, e.Line.Origin)
	}
	return fmt.Sprintf("%s is refused: forbid %s (%s)", what, e.Line.Pattern, e.Line.Origin)
}

// refusal is [Index.Refusal]. resolve gives the modules of a pattern without wildcards that is no module's name, so that forbidding an
// alias forbids its modules however they are asked for.
func (p *Policy) refusal(module, alias string, resolve func(alias string) []string) error {
	match := func(patterns []Pattern) (Pattern, string, bool) {
		for _, pat := range patterns {
			text, ok := normalizeAlias(pat.Pattern)
			if !ok {
				text = pat.Pattern
			}
			if glob(text, module) {
				return pat, "", true
			}
			if alias != "" && glob(text, alias) {
				return pat, alias, true
			}
			if !isPattern(text) && slices.Contains(resolve(text), module) {
				return pat, "", true
			}
		}
		return Pattern{}, "", false
	}
	if len(p.forbid) > 0 {
		if pat, by, ok := match(p.forbid); ok {
			return &ForbiddenError{Module: module, Alias: by, Line: pat}
		}
	}
	if len(p.allow) > 0 || p.sealed != "" {
		if _, _, ok := match(p.allow); !ok {
			e := &ForbiddenError{Module: module, Allow: true, Sealed: p.sealed}
			if len(p.allow) > 0 {
				e.Line = p.allow[0]
			}
			return e
		}
	}
	return nil
}
