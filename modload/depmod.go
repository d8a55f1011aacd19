package modload

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
)

// DepmodOptions say which modules [Depmod] reads and where it writes. Only Dir is needed.
type DepmodOptions struct {
	Dir     string // the tree: …/lib/modules/RELEASE
	OutDir  string // where the indexes are written, made when it is not there; empty: Dir
	Release string // the kernel's release, for the patterns in depmod.d; empty: the last element of Dir

	Files []string // read only these modules, by absolute path; nil: the whole tree
	Quick bool     // do nothing when no module is newer than modules.dep

	Config []string // files and directories of depmod.d(5), earlier ones first; nil: DepmodConfigDirs

	Symvers          string // Module.symvers, to check versions against
	SystemMap        string // System.map, to know the kernel's own symbols
	ReportUnresolved bool   // warn about each symbol that nobody exports; needs Symvers or SystemMap
	ReportDuplicates bool   // warn about equal lines of an index
	SymbolPrefix     byte   // a character that the architecture puts before each symbol; 0: none

	Show    io.Writer // write the text indexes here, and no file
	Verbose io.Writer // say here which module needs which symbol of which module

	Parallel int    // modules read at a time; 0: one a processor
	Log      Logger // warnings; nil: none
}

// DepmodConfigDirs are the directories of depmod.d(5): a file in an earlier one hides its namesakes in later ones.
func DepmodConfigDirs() []string {
	return []string{"/etc/depmod.d", "/run/depmod.d", "/usr/local/lib/depmod.d", "/usr/lib/depmod.d", "/lib/depmod.d"}
}

// A CycleError lists the modules that need one another in a circle; no index can be written for them.
type CycleError struct {
	Cycles  [][]string // each begins and ends with the same module
	Modules int        // in all the circles together
}

func (e *CycleError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d modules in dependency cycles: ", e.Modules)
	for i, c := range e.Cycles {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(strings.Join(c, " -> "))
	}
	return b.String()
}

// Depmod reads the modules of a tree and writes its indexes: modules.dep, .alias, .symbols and .builtin with their .bin forms,
// modules.builtin.alias.bin, .softdep, .weakdep and .devname. But for .weakdep, which is newer, they are byte for byte those of kmod 30.
//
// Every file is written whole under another name and synced; only when all of them are there are they renamed. An error, a full disk
// or a kill before that leaves the old indexes as they were. A module that cannot be read is logged and has no symbols and no aliases.
//
// See depmod(8).
func Depmod(ctx context.Context, opts DepmodOptions) error {
	if opts.Log == nil {
		opts.Log = silent{}
	}
	if opts.OutDir == "" {
		opts.OutDir = opts.Dir
	}
	if opts.Release == "" {
		opts.Release = filepath.Base(opts.Dir)
	}
	if opts.Config == nil {
		opts.Config = DepmodConfigDirs()
	}
	if opts.Parallel <= 0 {
		opts.Parallel = runtime.GOMAXPROCS(0)
	}
	d := &depmod{DepmodOptions: opts}
	if d.ReportUnresolved && d.Symvers == "" && d.SystemMap == "" {
		d.Log.Warn("-e needs -E or -F")
		d.ReportUnresolved = false
	}
	if d.Quick && d.Files == nil {
		if fresh, err := d.upToDate(); err != nil || fresh {
			return err
		}
	}
	if err := d.find(ctx); err != nil {
		return err
	}
	d.order()
	if err := d.readKernelSymbols(); err != nil {
		return err
	}
	d.resolve()
	if err := d.sort(); err != nil {
		return err
	}
	if d.Show != nil {
		return d.show()
	}
	return d.write(ctx)
}

// depmod is one run.
type depmod struct {
	DepmodOptions
	config  depmodConfig
	modules []*depModule // in the order of the indexes
	symbols symbolOwners
}

// depModule is one module of the tree.
type depModule struct {
	path string // of its file
	rel  string // the same within the tree; path itself when it lies outside
	name string

	read    bool
	info    string // the lines of .modinfo that go into an index, each ended by a NUL
	exports []symbolUse
	needs   []symbolUse

	index int // in depmod.modules
	place int // by modules.order
	deps  []*depModule
	users int
	rank  int // in topological order: users come before what they use
}

// symbolUse is a symbol that a module exports or needs, by its number.
type symbolUse struct {
	id   uint32 // the highest bit: weak
	crc  uint32
	wide bool // crc did not fit: it agrees with nothing
}

const weakUse = 1 << 31

// moduleExtension finds ".ko" and what may follow it at the end of a file's name.
func moduleExtension(name string) (extension string, ok bool) {
	for _, ext := range [...]string{".ko", ".ko.xz", ".ko.zst", ".ko.gz"} {
		if len(name) > len(ext) && strings.HasSuffix(name, ext) {
			return ext, true
		}
	}
	return "", false
}

// moduleName is the name of the module in a file: up to the first dot, with '_' for '-'.
func moduleName(path string) string {
	base, _, _ := strings.Cut(path[strings.LastIndexByte(path, '/')+1:], ".")
	return strings.ReplaceAll(base, "-", "_")
}

// IsModuleFile says whether a file's name is that of a module, compressed or not.
func IsModuleFile(name string) bool {
	_, ok := moduleExtension(name)
	return ok
}

// ModuleName is the name of the module in a file: up to the first dot of its base name, with '_' for '-'.
func ModuleName(path string) string { return moduleName(path) }

// find collects the modules to index and reads them, as many at a time as opts.Parallel says.
func (d *depmod) find(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	queue := make(chan *depModule, 256)
	readers := make([]*depReader, d.Parallel)
	var wg sync.WaitGroup
	for i := range readers {
		readers[i] = &depReader{log: d.Log, prefix: d.SymbolPrefix, checks: d.Symvers != ""}
		wg.Go(func() {
			for m := range queue {
				if ctx.Err() == nil {
					readers[i].read(m)
				}
			}
		})
	}
	found := map[string]*depModule{}
	add := func(m *depModule) {
		m.rel = m.path
		if rel, ok := strings.CutPrefix(m.path, d.Dir+"/"); ok {
			m.rel = rel
		}
		found[m.name] = m
		queue <- m
	}
	err := func() error {
		if d.Files != nil {
			for _, path := range d.Files {
				if !strings.HasPrefix(path, "/") {
					return fmt.Errorf("%s: not absolute path.", path)
				}
				if _, err := os.Stat(path); err != nil {
					return fmt.Errorf("could not create module %s: %w", path, err)
				}
				m := &depModule{path: path, name: moduleName(path)}
				if found[m.name] != nil {
					return fmt.Errorf("could not add module %s: there is another %s", path, m.name)
				}
				add(m)
			}
			return nil
		}
		d.config = readDepmodConfig(d.Config, d.Release, d.Log)
		walk := func(root string) error {
			return d.walk(ctx, root, func(path string) {
				m := &depModule{path: path, name: moduleName(path)}
				if old := found[m.name]; old != nil && d.config.prefers(d.Dir, old.path, path) {
					return
				}
				add(m)
			})
		}
		if err := walk(d.Dir); err != nil {
			return fmt.Errorf("could not search modules: %w", err)
		}
		for _, dir := range d.config.externals {
			if err := walk(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
				d.Log.Error(err.Error())
			}
		}
		return nil
	}()
	close(queue)
	wg.Wait()
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return err
	}

	d.modules = make([]*depModule, 0, len(found))
	for _, m := range found {
		d.modules = append(d.modules, m)
	}
	d.symbols.adopt(readers, d.modules)
	return nil
}

// walk calls yield for every module below root, in the order in which the directories list them: of two modules of equal name and rank the
// later or the earlier counts, and kmod decides so too.
func (d *depmod) walk(ctx context.Context, root string, yield func(path string)) error {
	dir, err := os.Open(root)
	if err != nil {
		return err
	}
	defer dir.Close()
	entries, err := dir.ReadDir(-1)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		name := e.Name()
		if name == "build" || name == "source" || slices.Contains(d.config.excludes, name) {
			continue
		}
		path := root + "/" + name
		kind := e.Type()
		if kind != 0 && !kind.IsDir() {
			st, err := os.Stat(path)
			if err != nil {
				d.Log.Error(err.Error())
				continue
			}
			kind = st.Mode().Type()
		}
		switch {
		case kind.IsDir():
			if err := d.walk(ctx, path, yield); err != nil {
				if ctx.Err() != nil {
					return err
				}
				d.Log.Error(err.Error())
			}
		case kind != 0:
			d.Log.Error(fmt.Sprintf("unsupported file type %s: %s", path, kind))
		default:
			if _, ok := moduleExtension(name); ok {
				yield(path)
			}
		}
	}
	return nil
}

// upToDate says whether modules.dep is there and no module is newer than it.
func (d *depmod) upToDate() (bool, error) {
	st, err := os.Stat(filepath.Join(d.OutDir, "modules.dep"))
	if err != nil {
		return false, nil
	}
	fresh := true
	errNewer := errors.New("newer")
	err = filepath.WalkDir(d.Dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if e.IsDir() && (e.Name() == "build" || e.Name() == "source") {
			return fs.SkipDir
		}
		if _, ok := moduleExtension(e.Name()); !ok {
			return nil
		}
		if module, err := os.Stat(path); err == nil && module.ModTime().After(st.ModTime()) {
			fresh = false
			return errNewer
		}
		return nil
	})
	if err != nil && !errors.Is(err, errNewer) {
		return false, err
	}
	return fresh, nil
}

// order sorts the modules as modules.order has them, those that it does not name behind. Among those the order is that of kmod's hash
// table, for the indexes are to be the same.
func (d *depmod) order() {
	sortAsHash(d.modules, 512, func(m *depModule) string { return m.name })
	defer func() {
		for i, m := range d.modules {
			m.index = i
		}
	}()
	for _, m := range d.modules {
		m.place = 1
	}
	order, err := os.ReadFile(filepath.Join(d.Dir, "modules.order"))
	if err != nil {
		d.Log.Warn(fmt.Sprintf("could not open modules.order at %s: %s", d.Dir, strerror(err)))
		return
	}
	if len(order) > 0 && order[len(order)-1] != '\n' {
		d.Log.Error(fmt.Sprintf("%s/modules.order:%d corrupted line misses '\\n'", d.Dir, strings.Count(string(order), "\n")+1))
		return
	}
	byPath := make(map[string]*depModule, len(d.modules))
	for _, m := range d.modules {
		if m.rel != m.path {
			ext, _ := moduleExtension(m.rel)
			byPath[strings.TrimSuffix(m.rel, ext)+".ko"] = m
		}
	}
	lines := strings.Split(string(order), "\n")
	for i, line := range lines {
		if m := byPath[line]; m != nil {
			m.place = i - len(lines)
		}
	}
	slices.SortStableFunc(d.modules, func(a, b *depModule) int { return cmp.Compare(a.place, b.place) })
}

// cause is what went wrong without the name of the file, for messages that have named it.
//
//go:noinline // once in the program, not in each of its many callers
func cause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
