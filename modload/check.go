package modload

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Severity is how bad a [Finding] is.
type Severity int

const (
	Note    Severity = iota // worth knowing; nothing to do
	Warning                 // something will be other than one may think
	Broken                  // modules will not load
)

func (s Severity) String() string { return [...]string{"note", "warning", "error"}[s] }

// Finding is one thing that a check has found, and what to do about it.
type Finding struct {
	Severity Severity
	Text     string
	Remedy   string // "" where there is nothing to do
}

func (f Finding) String() string {
	if f.Remedy == "" {
		return f.Text
	}
	return f.Text + ": " + f.Remedy
}

// HasModules reports whether the running kernel can load modules at all. One without is a normal machine.
func (c *Config) HasModules() bool {
	if _, err := os.Stat(c.Path("/proc/modules")); !errors.Is(err, fs.ErrNotExist) {
		return true
	}
	if _, err := os.Stat("/proc/self"); err == nil || c.options.SystemRoot != "" {
		return false
	}
	err := unix.FinitModule(-1, "", 0) // /proc is not mounted yet
	return !errors.Is(err, unix.ENOSYS)
}

// Check looks at what can be known in a few milliseconds: the configuration, the kernel, whether there is a tree, its
// indexes, and one of its modules. The daemon calls it before it is ready.
func (c *Config) Check() []Finding {
	found := c.checkBasics()
	if sample := c.sampleModule(); sample != "" {
		group := newModuleGroup(c)
		group.look(sample)
		found = append(found, group.findings()...)
	}
	return found
}

// CheckMore looks at the tree as a whole: files that the index names and that are gone, modules that are newer than the
// index or that it does not know. It asks for every file's age, which takes some 40 ms for 4,000 modules. The daemon
// calls it after it is ready.
func (c *Config) CheckMore(ctx context.Context) []Finding {
	found, _ := c.checkFiles(ctx)
	return found
}

// CheckAll is Check and CheckMore, and opens every module to see what it was built for. That takes up to seconds where
// they are compressed.
func (c *Config) CheckAll(ctx context.Context) []Finding {
	found, paths := c.checkFiles(ctx)
	return slices.Concat(c.checkBasics(), found, c.checkModules(ctx, paths))
}

func (c *Config) checkBasics() []Finding {
	var found []Finding
	for _, p := range c.problems {
		found = append(found, Finding{Warning, p.Error(), "correct it; until then the line does not count"})
	}
	if !c.HasModules() {
		found = append(found, Finding{Note, "this kernel has no support for modules: there is nothing to load", ""})
		if c.tree == "" && !c.askedFor() {
			return found
		}
	}
	if data, err := os.ReadFile(c.Path("/proc/sys/kernel/modules_disabled")); err == nil && bytes.HasPrefix(data, []byte("1")) {
		found = append(found, Finding{Warning, "kernel.modules_disabled is 1: this kernel loads no more modules until it is booted again", ""})
	}
	if c.tree == "" {
		return append(found, c.missingTree())
	}
	if running, err := c.options.Uname(); err == nil && running != c.Release() {
		f := Finding{Broken, fmt.Sprintf("the tree is for %s (%s) and the running kernel is %s: its modules are not for this kernel",
			c.Release(), c.setting("release").Origin, running), "leave out the release: it is the running kernel's then"}
		if c.setting("release").Origin.Source == SourceFlag { // asked for in this call
			f.Severity = Warning
		}
		found = append(found, f)
	}
	return append(found, c.checkIndexes()...)
}

// askedFor reports whether a flag of this call names the tree.
func (c *Config) askedFor() bool {
	return c.setting("module_root").Origin.Source == SourceFlag || c.setting("release").Origin.Source == SourceFlag
}

func (c *Config) missingTree() Finding {
	f := Finding{Severity: Broken, Text: c.TreeError().Error()}
	for _, root := range c.Roots() {
		if above, ok := strings.CutSuffix(root, "/"+treeDirs[0]); ok {
			f.Remedy = fmt.Sprintf("module_root is the directory above %s: make it %s", treeDirs[0], cmp.Or(above, "/"))
			return f
		}
	}
	if len(c.otherReleases()) > 0 {
		f.Remedy = "install the modules of " + c.Release() + " there, boot the kernel that the tree is for, or name another root with module_root in " + ConfigFile
	} else {
		f.Remedy = "install the modules of " + c.Release() + " there, or name the root that holds lib/modules/" + c.Release() + " with module_root in " + ConfigFile + " or kudev.module_root= on the kernel command line"
	}
	return f
}

// checkIndexes looks at the heads of the index files.
func (c *Config) checkIndexes() []Finding {
	remedy := c.depmodRemedy()
	var found []Finding
	if _, err := os.Stat(filepath.Join(c.tree, "modules.dep")); err != nil {
		if _, err := os.Stat(filepath.Join(c.tree, "modules.dep.bin")); err != nil {
			return []Finding{{Warning, c.tree + " has no index: it is built in memory from every module's file, again by each process", remedy}}
		}
	}
	for _, name := range []string{"modules.dep.bin", "modules.alias.bin", "modules.symbols.bin", "modules.builtin.bin"} {
		f, err := os.Open(filepath.Join(c.tree, name))
		if errors.Is(err, fs.ErrNotExist) {
			found = append(found, Finding{Warning, filepath.Join(c.tree, name) + " is missing: the text files are read in its place", remedy})
			continue
		}
		if err != nil {
			found = append(found, Finding{Broken, err.Error(), "make it readable"})
			continue
		}
		var head [12]byte
		n, _ := f.ReadAt(head[:], 0)
		size := int64(0)
		if st, err := f.Stat(); err == nil {
			size = st.Size()
		}
		f.Close()
		switch {
		case n == 0 && name == "modules.builtin.bin": // as depmod leaves it where the kernel lists no built-in module
		case n < len(head):
			found = append(found, Finding{Warning, f.Name() + " is damaged: it ends in its header", remedy})
		case binary.BigEndian.Uint32(head[:]) != indexMagic:
			found = append(found, Finding{Warning, fmt.Sprintf("%s is damaged: it begins with %08x, not with %08x", f.Name(), binary.BigEndian.Uint32(head[:]), uint32(indexMagic)), remedy})
		case binary.BigEndian.Uint16(head[4:]) != 2:
			found = append(found, Finding{Warning, fmt.Sprintf("%s is of version %d, and 2 is known", f.Name(), binary.BigEndian.Uint16(head[4:])), remedy})
		case int64(binary.BigEndian.Uint32(head[8:])&nodeOffset) >= size && binary.BigEndian.Uint32(head[8:]) != uint32(size): // as is an index of nothing
			found = append(found, Finding{Warning, fmt.Sprintf("%s is cut short, at %d bytes: the text files are read in its place", f.Name(), size), remedy})
		}
	}
	return found
}

func (c *Config) depmodRemedy() string {
	if c.root == "/" || c.root == "" {
		return "run kudev depmod " + c.Release()
	}
	return "run kudev depmod -b " + c.root + " " + c.Release()
}

// sampleModule returns one module's file that the index names and that is there.
func (c *Config) sampleModule() string {
	if c.tree == "" {
		return ""
	}
	f, err := os.Open(filepath.Join(c.tree, "modules.dep"))
	if err != nil {
		return ""
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for range 20 {
		if !lines.Scan() {
			break
		}
		path, _, _ := strings.Cut(lines.Text(), ":")
		path = c.inTree(path)
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return ""
}

// inTree returns where a path of an index lies: one that does not begin with / is relative to the tree.
func (c *Config) inTree(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(c.tree, path)
}

// checkFiles compares the index with the files, and returns the paths of the modules that there are.
func (c *Config) checkFiles(ctx context.Context) (found []Finding, paths []string) {
	if c.tree == "" {
		return nil, nil
	}
	indexed, indexTime, found := c.checkNamed(ctx)
	paths, newer, unknown, err := c.walkTree(ctx, indexed, indexTime)
	if err != nil {
		found = append(found, Finding{Broken, err.Error(), ""})
	}
	if len(newer) > 0 {
		found = append(found, Finding{Warning, "the index is older than " + few(newer), c.depmodRemedy()})
	}
	if len(unknown) > 0 {
		found = append(found, Finding{Warning, "the index does not know " + few(unknown), c.depmodRemedy()})
	}
	return found, paths
}

// checkNamed returns the paths that modules.dep names, its age, and what is wrong with them.
func (c *Config) checkNamed(ctx context.Context) (indexed map[string]bool, age time.Time, found []Finding) {
	data, err := os.ReadFile(filepath.Join(c.tree, "modules.dep"))
	if err != nil {
		return nil, age, nil // Check has said it
	}
	if info, err := os.Stat(filepath.Join(c.tree, "modules.dep")); err == nil {
		age = info.ModTime()
	}
	indexed = map[string]bool{}
	var gone []string
	for line := range strings.Lines(string(data)) {
		path, _, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		path = c.inTree(path)
		indexed[path] = true
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			gone = append(gone, path)
		}
		if ctx.Err() != nil {
			break
		}
	}
	if len(gone) > 0 {
		found = append(found, Finding{Broken, "modules.dep names what is not there: " + few(gone), "install them again, or " + c.depmodRemedy()})
	}
	return indexed, age, found
}

// walkTree returns the modules of the tree, those newer than the index, and those that it does not name.
func (c *Config) walkTree(ctx context.Context, indexed map[string]bool, age time.Time) (paths, newer, unknown []string, err error) {
	err = filepath.WalkDir(c.tree, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // went away meanwhile
			}
			return err
		}
		if d.IsDir() && (d.Name() == "build" || d.Name() == "source") && filepath.Dir(path) == c.tree {
			return fs.SkipDir // the kernel's sources
		}
		if d.IsDir() || ctx.Err() != nil {
			return ctx.Err()
		}
		if _, ok := moduleExtension(d.Name()); !ok {
			return nil
		}
		paths = append(paths, path)
		if indexed == nil {
			return nil
		}
		if info, err := d.Info(); err == nil && info.ModTime().After(age) {
			newer = append(newer, path)
		} else if !indexed[path] {
			unknown = append(unknown, path)
		}
		return nil
	})
	return paths, newer, unknown, err
}

// checkModules opens every module, side by side.
func (c *Config) checkModules(ctx context.Context, paths []string) []Finding {
	all := newModuleGroup(c)
	work := make(chan string)
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for path := range work {
				all.look(path)
			}
		})
	}
	for _, path := range paths {
		if ctx.Err() != nil {
			break
		}
		work <- path
	}
	close(work)
	wg.Wait()
	return all.findings()
}

// moduleGroup collects what modules were built for, where that is not this kernel.
type moduleGroup struct {
	cfg      *Config
	machines []uint16 // of the kernel, nil when it is not known

	mu       sync.Mutex
	vermagic map[string][]string // files by what they are built for
	foreign  []string            // built for another architecture
	broken   []string            // with the reason
}

func newModuleGroup(c *Config) *moduleGroup {
	_, machine, _ := uname()
	return &moduleGroup{cfg: c, vermagic: map[string][]string{}, machines: elfMachines(machine)}
}

// look opens one module. Any number of goroutines may call it.
func (g *moduleGroup) look(path string) {
	magic, foreign, err := g.read(path)
	release, _, _ := strings.Cut(magic, " ")
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case errors.Is(err, fs.ErrNotExist): // gone meanwhile
	case err != nil:
		g.broken = append(g.broken, err.Error())
	case foreign:
		g.foreign = append(g.foreign, path)
	case release != g.cfg.Release():
		g.vermagic[magic] = append(g.vermagic[magic], path)
	}
}

func (g *moduleGroup) read(path string) (vermagic string, foreign bool, err error) {
	m, err := OpenModule(path)
	if err != nil {
		return "", false, err
	}
	defer m.Close()
	info, err := m.Info()
	if err != nil {
		return "", false, fmt.Errorf("read %s: %w", path, err)
	}
	return info.Get("vermagic"), len(g.machines) > 0 && !slices.Contains(g.machines, m.machine), nil
}

func (g *moduleGroup) findings() []Finding {
	var found []Finding
	for _, magic := range sortedKeys(g.vermagic) {
		paths, name := g.vermagic[magic], strconv.Quote(magic)
		if magic == "" {
			name = "no kernel that they name"
		}
		slices.Sort(paths)
		found = append(found, Finding{Broken, fmt.Sprintf("built for %s, not for %s: %s", name, g.cfg.Release(), few(paths)),
			"install the modules of " + g.cfg.Release() + ", or boot the kernel that they were built for"})
	}
	if len(g.foreign) > 0 {
		slices.Sort(g.foreign)
		found = append(found, Finding{Broken, "built for another architecture: " + few(g.foreign), "install the modules of this machine's kernel"})
	}
	if len(g.broken) > 0 {
		slices.Sort(g.broken)
		found = append(found, Finding{Broken, few(g.broken), "install it again"})
	}
	return found
}

// few names the first of many.
func few(names []string) string {
	if len(names) == 1 {
		return names[0]
	}
	return fmt.Sprintf("%s and %d more", names[0], len(names)-1)
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
