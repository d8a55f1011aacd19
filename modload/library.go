package modload

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kudev/kudev/modload/inotify"
)

// A Library is a tree for long use: each call of [Library.Index] gives its current generation, whole. A new index, a new or changed
// file of modprobe.d, a changed forbid or allow line counts for the very next call. Whoever holds an older generation may go on using
// it. Any number of goroutines may use a Library.
//
// The kernel queues a note of each change before the call that made it returns (inotify(7)), and Index reads that queue, without
// waiting and without a goroutine that could be late. Where notes are not to be had (a file system of another machine's, no inotify at all),
// and for whatever they miss, a look-up that finds nothing calls [Library.Refresh], which compares the files themselves.
type Library struct {
	cfg   *Config
	log   Logger
	paths []string

	current atomic.Pointer[generation]
	mu      sync.Mutex       // while a generation is made
	since   time.Duration    // of CLOCK_MONOTONIC: when the files were compared last
	notify  *inotify.Watcher // nil where there is none, or no more
	stale   atomic.Bool
}

type generation struct {
	index *Index
	err   error // no tree: the index is good for its policy
	marks []mark
}

// A mark is what tells one state of a file from another.
type mark struct {
	path  string
	inode uint64
	size  int64
	mtime unix.Timespec
	ctime unix.Timespec
}

// NewLibrary opens the tree of a configuration, for long use. paths replace the directories of modprobe.d(5). log is told what is wrong with
// the files of each generation; nil is nobody. Close releases what it watches with.
//
// Without a tree there is still a Library: its Index returns the error of [Open], until there is a tree.
func NewLibrary(cfg *Config, log Logger, paths ...string) *Library {
	if log == nil {
		log = silent{}
	}
	l := &Library{cfg: cfg, log: log, paths: paths}
	var err error
	if l.notify, err = inotify.New(); err != nil {
		log.Warn("changes to modules and their configuration are seen late: no file watches", "error", err)
	}
	l.mu.Lock()
	l.make()
	l.mu.Unlock()
	return l
}

// Close ends the watching. The library goes on with what it has.
func (l *Library) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.notify == nil {
		return nil
	}
	err := l.notify.Close()
	l.notify = nil
	return err
}

// Index returns the current generation. The error is that of [Open].
func (l *Library) Index() (*Index, error) {
	if l.changed() {
		return l.Refresh()
	}
	g := l.current.Load()
	return g.index, g.err
}

// changed reads the notes, without waiting.
func (l *Library) changed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.notify == nil || l.notify.Take(func(inotify.Note) { l.stale.Store(true) }) != nil {
		return true
	}
	return l.stale.Load()
}

// Refresh compares the files with those of the current generation and makes a new one when they differ.
func (l *Library) Refresh() (*Index, error) {
	index, _, err := l.refreshSince(0)
	return index, err
}

// refreshSince does so unless the files have been compared since asked, which may be 0 for now. It tells whether it has.
func (l *Library) refreshSince(asked time.Duration) (*Index, bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	g := l.current.Load()
	if asked > 0 && l.since >= asked && !l.stale.Load() {
		return g.index, false, g.err
	}
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) // before the files are looked at; without a clock it is 0, and serves nobody
	l.since = time.Duration(ts.Nano())
	l.stale.Store(false)
	for _, m := range g.marks {
		if markOf(m.path) != m {
			l.make()
			g = l.current.Load()
			break
		}
	}
	return g.index, true, g.err
}

// make makes a generation. The files are marked and watched before they are read: what changes meanwhile is seen the next time.
func (l *Library) make() {
	for range 3 {
		g := &generation{}
		paths := l.watched()
		l.watch(paths)
		for _, p := range paths {
			g.marks = append(g.marks, markOf(p))
		}
		if cfg, err := l.cfg.Reload(); err == nil {
			l.cfg = cfg
		} else {
			l.log.Warn("forbid and allow stay as they were", "error", err)
		}
		g.index, g.err = Open(l.cfg, l.paths...)
		for _, p := range g.index.policy.read {
			if !slices.ContainsFunc(g.marks, func(m mark) bool { return m.path == p }) {
				g.marks = append(g.marks, markOf(p))
			}
		}
		l.watch(g.index.policy.read)
		l.current.Store(g)
		if !moved(g.marks) {
			g.index.logProblems(l.log)
			return
		}
	}
	l.log.Warn("the files of modules are changing all the time: going on with what was read last")
}

func moved(marks []mark) bool {
	for _, m := range marks {
		if markOf(m.path) != m {
			return true
		}
	}
	return false
}

// watched are the files and directories that make a generation, those of its policy apart.
func (l *Library) watched() []string {
	paths := []string{l.cfg.Path(ConfigFile), l.cfg.Path(SealFile)}
	tree := l.cfg.Tree()
	if tree == "" { // one may come: its file system may not be mounted yet
		for _, root := range l.cfg.Roots() {
			for _, dir := range treeDirs {
				paths = append(paths, l.cfg.TreeBelow(root, dir))
			}
		}
		return paths
	}
	paths = append(paths, tree)
	for _, name := range []string{"dep", "alias", "symbols", "builtin", "builtin.alias"} {
		paths = append(paths, tree+"/modules."+name, tree+"/modules."+name+".bin")
	}
	return append(paths, tree+"/modules.builtin.modinfo")
}

// watch asks for notes on files and directories. For those of which none are to be had there are the marks.
func (l *Library) watch(paths []string) {
	for _, p := range paths {
		if l.notify != nil {
			_ = l.notify.Add(p)
		}
	}
}

// markOf is the state of a file; of one that is not there, an empty one.
func markOf(path string) mark {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return mark{path: path}
	}
	return mark{path, st.Ino, st.Size, st.Mtim, st.Ctim}
}
