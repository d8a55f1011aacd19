package modload

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A BootModule is a module that the machine's owner wants loaded at the start, whatever devices there are.
type BootModule struct {
	Name       string // an alias, or the module's name
	Parameters string // what stands behind the name in /etc/modules
	Place      string // "file:line", or "kernel command line"
}

var modulesLoadDirs = []string{"/etc/modules-load.d", "/run/modules-load.d", "/usr/local/lib/modules-load.d", "/usr/lib/modules-load.d", "/lib/modules-load.d"}

// BootModules lists what is to be loaded at the start, each name once: the modules_load= of the kernel command line (and, in an initramfs,
// rd.modules_load=), then the files of modules-load.d in order of their names, then /etc/modules. A file in an earlier directory hides
// its namesakes in later ones. Problems are files that cannot be read.
//
// See modules-load.d(5), modules(5).
func BootModules(cfg *Config) (list []BootModule, problems []Problem) {
	var b bootModules
	_, err := os.Stat(cfg.Path("/etc/initrd-release"))
	initramfs := err == nil
	for name, value := range splitCommandLine(cfg.CommandLine()) {
		name = strings.ReplaceAll(name, "-", "_")
		if name == "modules_load" || initramfs && name == "rd.modules_load" {
			for module := range strings.SplitSeq(value, ",") {
				b.add(module, "", commandLineName)
			}
		}
	}
	files := map[string]string{}
	for _, dir := range modulesLoadDirs {
		entries, err := os.ReadDir(cfg.Path(dir))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			b.problems = append(b.problems, Problem{File: dir, Text: cause(err).Error()})
		}
		for _, e := range entries {
			name := e.Name()
			if strings.HasSuffix(name, ".conf") && !strings.HasPrefix(name, ".") && files[name] == "" {
				files[name] = filepath.Join(dir, name)
			}
		}
	}
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		b.read(cfg, files[name])
	}
	b.read(cfg, "/etc/modules") // often the target of a link in modules-load.d: what it names is there already then
	return b.list, b.problems
}

// BootModulesOf is [BootModules] for the given files alone.
func BootModulesOf(cfg *Config, files []string) (list []BootModule, problems []Problem) {
	var b bootModules
	for _, file := range files {
		before := len(b.problems)
		if b.read(cfg, file); len(b.problems) == before {
			if _, err := os.Stat(cfg.Path(file)); err != nil {
				b.problems = append(b.problems, Problem{File: file, Text: cause(err).Error()})
			}
		}
	}
	return b.list, b.problems
}

type bootModules struct {
	list     []BootModule
	problems []Problem
}

func (b *bootModules) add(name, parameters, place string) {
	same := func(m BootModule) bool {
		return strings.ReplaceAll(m.Name, "-", "_") == strings.ReplaceAll(name, "-", "_")
	}
	if name != "" && !slices.ContainsFunc(b.list, same) {
		b.list = append(b.list, BootModule{name, parameters, place})
	}
}

// read adds the lines of a file: a name, and what may stand behind it. A line that begins with # or ; is a comment.
func (b *bootModules) read(cfg *Config, file string) {
	data, err := readFile(cfg.Path(file))
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			b.problems = append(b.problems, Problem{File: file, Text: cause(err).Error()})
		}
		return
	}
	number := 0
	for line := range strings.Lines(string(data)) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		name, parameters := word(line)
		b.add(name, strings.TrimSpace(parameters), fmt.Sprintf("%s:%d", file, number))
	}
}

// FailedOnly says whether something of a request has failed, and each failure is of the kind that harmless names. It looks at what was
// asked for and at its dependencies: one error among several is no reason to forget the others.
func FailedOnly(outcomes []Outcome, harmless func(error) bool) bool {
	some := false
	for _, o := range outcomes {
		if o.Required && o.Err != nil {
			if !harmless(o.Err) {
				return false
			}
			some = true
		}
	}
	return some
}

// NoDevice says whether an error is that of a driver that has found nothing to drive.
func NoDevice(err error) bool { return errors.Is(err, unix.ENODEV) }

// A BootOutcome is what became of a [BootModule].
type BootOutcome struct {
	BootModule
	Modules []Outcome
	Err     error
	Took    time.Duration
}

// LoadBoot loads a list side by side, each module once however many ask for it, and calls done for each as it ends: one at a time, in the
// order of ending. A blacklist line stops a module, and is no error; neither is a driver that finds nothing to drive. request is what each
// is asked for with, but for its name and parameters.
func (l *Loader) LoadBoot(ctx context.Context, list []BootModule, request Request, done func(BootOutcome)) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	width := make(chan struct{}, 64)
	for _, m := range list {
		width <- struct{}{}
		wg.Go(func() {
			defer func() { <-width }()
			r := request
			r.Name, r.Parameters, r.UseBlacklist = m.Name, m.Parameters, true
			start := time.Now()
			o := BootOutcome{BootModule: m}
			if o.Modules, o.Err = l.Load(ctx, r); FailedOnly(o.Modules, NoDevice) {
				o.Err = nil
			}
			o.Took = time.Since(start)
			mu.Lock()
			defer mu.Unlock()
			done(o)
		})
	}
	wg.Wait()
}
