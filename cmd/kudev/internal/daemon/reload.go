package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"

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

// freshen reads the policy again when a file of it has changed, so that the change counts for the next event.
func (d *Daemon) freshen(ctx context.Context) {
	if !d.stale.Swap(false) && !d.replaced() { // before they are read: what changes from here on is another reload
		return
	}
	if err := d.Reload(ctx); err != nil {
		d.log.Error(err.Error())
	}
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

// watchFiles reloads when a rules directory or kudev.conf has changed. A directory that is not there is watched for in
// the one above it.
func (d *Daemon) watchFiles(ctx context.Context) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		d.log.Warn("changes of rules are not seen by themselves: " + err.Error())
		return
	}
	defer w.Close()
	dirs := d.watchedDirs()
	add := func() {
		for _, dir := range dirs {
			for p := dir; p != "/" && p != "."; p = filepath.Dir(p) {
				if err := w.Add(p); err == nil || !errors.Is(err, os.ErrNotExist) {
					break
				}
			}
		}
	}
	add()
	var wait <-chan time.Time
	changed := func() {
		d.stale.Store(true)
		if wait == nil {
			wait = time.After(settleFiles)
		}
	}
	if p := d.policy.Load(); stateOfFiles(p.Sources) != p.files { // changed while nobody watched
		changed()
	}
	for {
		select {
		case <-ctx.Done():
			return
		case ev, ok := <-w.Events:
			if !ok {
				return
			}
			if relevant(ev.Name, dirs) && ev.Op&^fsnotify.Chmod != 0 {
				changed()
			}
		case err, ok := <-w.Errors:
			if !ok {
				return
			}
			if errors.Is(err, fsnotify.ErrEventOverflow) {
				changed()
			}
		case <-wait:
			wait = nil
			add()
			d.freshen(ctx)
		}
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
