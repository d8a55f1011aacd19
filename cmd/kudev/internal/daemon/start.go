package daemon

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/kudev/kudev/modload"
	"github.com/kudev/kudev/rules"
)

// afterStart does what a daemon that listens has to do before it is ready: quick checks, nodes, the registration for the
// kernel's requests. What is slow follows in the background.
func (d *Daemon) afterStart(before bool) {
	cfg := d.opts.Config
	d.findings(cfg.Check())
	d.staticNodes()
	d.register()
	if !d.opts.Transient {
		d.workers.Go(func() { d.watchFiles(d.ctx) })
		if d.nodes != nil {
			if err := d.nodes.Restore(); err != nil {
				d.log.Warn(err.Error())
			}
			d.workers.Go(func() {
				if err := d.nodes.Run(d.ctx); err != nil {
					d.log.Warn(err.Error())
				}
			})
		}
	}
	if before && !d.opts.Transient && !d.opts.Coldplug {
		// Another daemon was here and has left. What the kernel sent since then is in nobody's queue.
		release := d.queue.Hold("recovering events of before the start")
		d.workers.Go(func() {
			defer release()
			d.sweep(d.ctx)
			d.recover(d.ctx, true)
		})
	}
	d.workers.Go(func() { d.background(d.ctx) })
}

// background does what is not needed to be ready.
func (d *Daemon) background(ctx context.Context) {
	if d.opts.Coldplug {
		if before, _ := os.ReadDir(filepath.Join(d.run(), "udev/data")); len(before) > 0 {
			d.sweep(ctx)
		}
		a, err := d.Coldplug(ctx, d.WaitOptions(Request{}))
		if err == nil {
			err = a.Err()
		}
		if err != nil && ctx.Err() == nil {
			d.log.Error("coldplug: " + err.Error())
		}
	}
	if !d.opts.Transient && !d.loads.none {
		d.findings(d.opts.Config.CheckMore(ctx))
	}
	freeMemory()
}

// register makes the kernel's requests come to kudev and tells it where firmware lies, for a lone coldplug too: what it
// loads may need both.
func (d *Daemon) register() {
	err := d.claim.Register()
	d.mu.Lock()
	d.registered = d.claim.Registered()
	d.mu.Unlock()
	switch {
	case errors.Is(err, modload.ErrNotRegistered):
		d.log.Info(err.Error())
	case err != nil:
		d.log.Warn(err.Error())
	}
}

// findings says what is wrong with the machine, and keeps it for status.
func (d *Daemon) findings(list []modload.Finding) {
	for _, f := range list {
		switch f.Severity {
		case modload.Note:
			d.log.Info(f.String())
			continue
		case modload.Warning:
			d.log.Warn(f.String())
		default:
			d.log.Error(f.String())
		}
		d.mu.Lock()
		d.problems = append(d.problems, f.String())
		d.mu.Unlock()
	}
}

// staticNodes gives the nodes that are there before their drivers the owners and modes of the rules, as udev does at its
// start and only then.
func (d *Daemon) staticNodes() {
	dev := d.opts.Roots.DevDir()
	for _, n := range d.policy.Load().Program.StaticNodes() {
		if !filepath.IsLocal(n.Node) {
			continue
		}
		if err := staticNode(filepath.Join(dev, n.Node), n); err != nil && !errors.Is(err, fs.ErrNotExist) {
			d.log.Warn("static node "+n.Node+": "+err.Error(), "rule", n.Rule)
		}
		for _, tag := range n.Tags {
			dir := filepath.Join(d.run(), "udev/static_node-tags", tag)
			if !filepath.IsLocal(tag) || !exists(filepath.Join(dev, n.Node)) || os.MkdirAll(dir, 0o755) != nil {
				continue
			}
			os.Symlink("/dev/"+n.Node, filepath.Join(dir, escapeNode(n.Node)))
		}
	}
}

func staticNode(name string, n rules.StaticNode) error {
	fd, err := unix.Open(name, unix.O_PATH|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: name, Err: err}
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if kind := st.Mode & unix.S_IFMT; kind != unix.S_IFCHR && kind != unix.S_IFBLK {
		return nil
	}
	if n.UID == nil && n.GID == nil && n.Mode == nil {
		return nil
	}
	uid, gid := -1, -1
	mode := uint32(0o600)
	if n.UID != nil {
		uid = int(*n.UID)
	}
	if n.GID != nil {
		gid = int(*n.GID)
		mode = 0o660
	}
	if n.Mode != nil {
		mode = uint32(n.Mode.Perm())
	}
	path := "/proc/self/fd/" + strconv.Itoa(fd)
	return errors.Join(unix.Chmod(path, mode), unix.Fchownat(unix.AT_FDCWD, path, uid, gid, 0))
}

// escapeNode writes a name below /dev as one file name, as udev does.
func escapeNode(name string) string {
	b := make([]byte, 0, len(name))
	for i := range len(name) {
		switch c := name[i]; c {
		case '/':
			b = append(b, `\x2f`...)
		case '\\':
			b = append(b, `\x5c`...)
		default:
			b = append(b, c)
		}
	}
	return string(b)
}
