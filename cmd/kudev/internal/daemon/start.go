package daemon

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/kudev/kudev/hotplug"
	"github.com/kudev/kudev/modload"
)

// afterStart does what a daemon that listens has to do before it is ready: quick checks, nodes, the registration for the
// kernel's requests. What is slow follows in the background.
func (d *Daemon) afterStart(before bool) {
	cfg := d.opts.Config
	found := cfg.Check()
	if d.opts.Transient { // its command has said what is wrong with kudev.conf; and a kernel without modules is no news to each trigger
		found = slices.DeleteFunc(found, func(f modload.Finding) bool {
			return f.Severity == modload.Note || slices.ContainsFunc(cfg.Problems(), func(p modload.Problem) bool { return p.Error() == f.Text })
		})
	}
	d.findings(found)
	d.staticNodes()
	d.register()
	if !d.opts.Transient {
		if w := d.openFiles(); w != nil {
			d.workers.Go(func() { d.watchFiles(d.ctx, w) })
		}
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
			d.recovering.Lock()
			defer d.recovering.Unlock()
			d.sweep(d.ctx)
			d.recover(d.ctx, afterRestart)
		})
	}
	if !d.opts.Transient && !d.loads.none {
		d.workers.Go(func() { d.loads.boot(d.ctx, cfg) })
	} else {
		close(d.loads.booted)
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
		d.replay()
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

// staticNodes makes, where they are missing, the nodes that modules want before they are loaded and the links that
// programs expect in /dev, and gives such nodes the owners and modes of the rules, as udev does at its start and only then.
func (d *Daemon) staticNodes() {
	roots := d.opts.Roots
	if tree := d.opts.Config.Tree(); tree != "" && roots.DevDir() == "/dev" {
		text, err := os.ReadFile(filepath.Join(tree, "modules.devname"))
		if err == nil {
			var nodes []hotplug.StaticNode
			nodes, err = hotplug.ParseStaticNodes(string(text))
			err = errors.Join(err, roots.MakeStaticNodes(nodes))
		}
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case errors.Is(err, fs.ErrPermission): // as in a container
			d.log.Info("static nodes: not allowed to make nodes here")
		case err != nil:
			d.log.Warn("static nodes: " + err.Error())
		}
		if err := roots.MakeStandardLinks(); err != nil {
			d.log.Warn(err.Error())
		}
	}
	for _, n := range d.policy.Load().Program.StaticNodes() {
		if err := roots.ApplyStaticNode(n.Node, hotplug.NodeResult{UID: n.UID, GID: n.GID, Mode: n.Mode}, n.Tags); err != nil {
			d.log.Warn(err.Error(), "rule", n.Rule)
		}
	}
}
