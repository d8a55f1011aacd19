package daemon

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/kudev/kudev/modload/inotify"
	"github.com/kudev/kudev/rules"
)

// Reload reads the policy again, whole or not at all: kudev.conf's forbid and allow, modprobe.d, the rules. What is
// fixed for life (the root, the release, the firmware path) stays. When it cannot be read the old one stays, and the
// error says why.
func (d *Daemon) Reload(ctx context.Context) (err error) {
	d.reloading.Lock()
	defer d.reloading.Unlock()
	defer func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.reloadError = ""
		if err != nil {
			d.reloadError = err.Error()
			d.journal.Note("reload refused: " + err.Error())
		}
	}()
	cfg := d.opts.Config
	if d.opts.Resolve != nil {
		next, err := d.opts.Resolve()
		if err != nil {
			return fmt.Errorf("reload: %w", err)
		}
		cfg = next
		for _, p := range cfg.Problems() {
			d.log.Warn(p.Error())
		}
	}
	next := d.loadPolicy(cfg)
	for _, p := range next.Problems {
		if p.Severity == rules.Error && p.Line == 0 { // a file that cannot be read at all
			return fmt.Errorf("reload: %w", p)
		}
	}
	if err := d.loads.reload(); err != nil {
		return fmt.Errorf("reload: %w", err)
	}
	d.policy.Store(next)
	d.reloads.Add(1)
	d.log.Info("reloaded", "rules", next.Count(), "from", next.Shown())
	d.journal.Note("reloaded")
	return nil
}

// settleFiles is how long a burst of changes to files may go on before they are read when no event comes: an editor's
// write, a package's dozen files. An event does not wait for it, nor is it handled by the old rules: see freshen.
const settleFiles = 50 * time.Millisecond

// freshen reads the policy again when a file of it has changed, so that the change counts for the next event. It waits for
// another that is at it.
func (d *Daemon) freshen(ctx context.Context) {
	d.freshening.Lock()
	defer d.freshening.Unlock()
	if w := d.files.Load(); w != nil {
		_ = w.Take(d.fileChanged)
	}
	if !d.stale.Swap(false) && !d.replaced() { // before they are read: what changes from here on is another reload
		return
	}
	d.watchDirs() // first: what comes into a new directory from here on is another reload, too
	if err := d.Reload(ctx); err != nil {
		d.log.Error(err.Error())
	}
	d.watchDirs() // kudev.conf may name others now
}

// lookAtDirs is how often the directories of the rules are looked at when events come.
const lookAtDirs = time.Second

// replaced tells whether other directories have taken the place of the rules': of a link that leads elsewhere by now, as when a NixOS
// machine switches to another system, no watch tells.
func (d *Daemon) replaced() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := now()
	if t-d.looked < Micros(lookAtDirs/time.Microsecond) {
		return false
	}
	d.looked = t
	p := d.policy.Load()
	dirs := stateOfDirs(p.Sources)
	if dirs == p.dirs || dirs == d.tried { // what could not be read then is not tried again and again
		return false
	}
	d.tried = dirs
	return true
}

// openFiles begins to watch the rules directories and kudev.conf. It returns nil where that cannot be.
func (d *Daemon) openFiles() *inotify.Watcher {
	w, err := inotify.New()
	if err != nil {
		d.log.Warn("changes of rules are not seen by themselves: " + err.Error())
		return nil
	}
	d.files.Store(w)
	d.watchDirs()
	if p := d.policy.Load(); stateOfFiles(p.Sources) != p.files { // changed while nobody watched
		d.stale.Store(true)
	}
	return w
}

// watchFiles reloads what has changed when no event comes for which it is.
func (d *Daemon) watchFiles(ctx context.Context, w *inotify.Watcher) {
	changed := make(chan struct{}, 1)
	tell := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	tell() // once: it may have changed before
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := w.Wait(func(n inotify.Note) {
			if d.fileChanged(n); d.stale.Load() {
				tell()
			}
		})
		if ctx.Err() == nil {
			d.log.Warn("changes of rules are not seen by themselves any more: " + err.Error())
		}
	}()
	defer func() {
		w.Close()
		<-done
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(settleFiles):
			d.freshen(ctx)
		}
	}
}

// watchDirs watches what there is of the policy. A directory that is not there is watched for in the one above it.
func (d *Daemon) watchDirs() {
	if w := d.files.Load(); w != nil {
		for _, dir := range d.watchedDirs() {
			_ = w.Add(dir) // a path that is no directory has no rules
		}
	}
}

// fileChanged takes one note of the kernel's.
func (d *Daemon) fileChanged(n inotify.Note) {
	if n.Path == "" || !n.Attr && relevant(n.Path, d.watchedDirs()) {
		d.stale.Store(true)
	}
}

func (d *Daemon) watchedDirs() []string {
	var dirs []string
	for _, s := range d.policy.Load().Sources {
		if s.FS == nil {
			dirs = append(dirs, s.Dir)
		}
	}
	return append(dirs, filepath.Dir(d.opts.Config.Path("/etc/kudev/kudev.conf")))
}

// relevant tells whether a change of this file is one of the policy: a rules file, kudev.conf, or a directory on the way.
func relevant(name string, dirs []string) bool {
	if strings.HasSuffix(name, ".rules") || filepath.Base(name) == "kudev.conf" {
		return true
	}
	for _, dir := range dirs {
		if dir == name || strings.HasPrefix(dir, name+"/") {
			return true
		}
	}
	return false
}
